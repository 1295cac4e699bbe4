"""The quick start: seconds to ready on an empty data folder and on the same one again, to the end of everything, and the memory of the tree."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from bench.panel import ROOT, Panel, free_port, memory_bytes
from lormas.common.sqlite3 import template

SETTLE_SECONDS = 8
FROM_STACK = {"first": 7.0, "second": 3.4, "stop": 4.0, "memory": 500.0, "processes": 6.0}
"""What the design measured on a like machine; numbers to beat, not baselines of this run."""


def _turn(data: Path, port: int) -> tuple[float, float, float, int]:
    env = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
    env |= {"LORMAS_DATA": str(data), "PORT": str(port), "LORMAS_DEMO": "0", "SUPERUSER_PASSWORD": secrets.token_urlsafe(12), "LOG_LEVEL": "warn"}
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "lormas.cli", "run"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = []
        for row in process.stdout:
            said.append(row)
            if re.match(r"Lormas is ready", row):
                break
        else:
            raise RuntimeError("".join(said))
        ready = time.perf_counter() - begun
        time.sleep(SETTLE_SECONDS)
        pids = Panel(process, port=port, data=data, password="").all_pids()
        memory = sum(memory_bytes(pid) for pid in pids.values()) / 1024**2
    finally:
        stopping = time.perf_counter()
        process.send_signal(signal.SIGINT)
        process.wait(30)
    return ready, time.perf_counter() - stopping, memory, len(pids)


def measure(*, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="lormas-bench-") as folder:
        port = free_port()
        unique = []
        if not template.file_name().is_file():  # once in an environment's life (and after new migrations) nobody has a schema to copy yet
            alone, _, _, _ = _turn(Path(folder) / "alone", port)
            unique.append(Figure("ready the first time of all in a new environment", alone, "s", note="makes the schema and Python's byte code"))
        data = Path(folder) / "data"
        first, _, _, _ = _turn(data, port)
        second, stop, memory, processes = _turn(data, port)
    stack = FROM_STACK
    return [
        *unique,
        Figure("ready on an empty data folder", first, "s", aim=f"< {stack['first']} s", met=first < stack["first"]),
        Figure("ready the second time", second, "s", aim=f"< {stack['second']} s", met=second < stack["second"]),
        Figure("stop", stop, "s", aim="< 10 s", met=stop < 10),
        Figure(
            "memory of the whole tree",
            memory,
            "MB",
            aim=f"< {stack['memory']:.0f} MB",
            met=memory < stack["memory"],
            note=f"{processes} processes, shared pages counted once",
        ),
    ]
