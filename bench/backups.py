"""A backup made and restored, through panel, worker and agent, against `tar` with `gzip -1` of the same folder on the same disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.figures import Figure, median
from bench.inside import GROWTH_BYTES, MIB, Growth
from bench.panel import Panel, panel, wait_for_node

FILE_BYTES = 512 * 1024
EGG = {
    "meta": {"version": "PTDL_v2"},
    "name": "Bench",
    "author": "bench@example.org",
    "docker_images": {"None": "none"},
    "startup": "while :; do sleep 1; done",
    "config": {"files": "{}", "startup": "{}", "logs": "{}", "stop": "^C"},
    "scripts": {"installation": {"script": None, "container": "", "entrypoint": ""}},
    "variables": [],
    "lormas": {"startup_mode": "shell"},
}


def fill(folder: Path, size: int) -> None:
    """Half of it packs well, half not at all: as game worlds and their logs are."""
    text = b"".join(b"[12:%02d:%02d] [Server thread/INFO]: player %d moved\n" % (n // 60 % 60, n % 60, n * 7919 % 9973) for n in range(12_000))
    for number in range(size // FILE_BYTES):
        place = folder / f"region-{number // 50}"
        place.mkdir(exist_ok=True)
        content = os.urandom(FILE_BYTES) if number % 2 else (text * 2)[:FILE_BYTES]
        (place / f"r.{number}.mca").write_bytes(content)
    os.sync()


def ended(found: Panel, answer: dict[str, Any]) -> float:
    """Seconds from when it was asked for (`answer`'s operation) to its end, as the panel has noted them: what a person waits, queue included."""
    address = f"/api/operations/{answer['operation']['id']}"
    while (operation := found.call("GET", address))["status"] in ("queued", "running"):
        time.sleep(0.05)
    if operation["status"] != "succeeded":
        raise RuntimeError(str(operation["error"]))
    from lormas.common.clock import parse_rfc3339

    begun, end = parse_rfc3339(operation["created_at"]), parse_rfc3339(operation["finished_at"])
    assert begun is not None and end is not None
    return (end - begun).total_seconds()


def timed(*command: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, timeout=300)
    os.sync()  # ours are on the disk when they are said to be done
    return time.perf_counter() - begun


def measure(*, quick: bool) -> list[Figure]:
    size, rounds = (20 * MIB, 1) if quick else (200 * MIB, 3)
    with panel(LORMAS_AGENT_RUNTIME="process") as found:
        wait_for_node(found)
        egg = found.call("POST", "/api/eggs/import", EGG)["eggs"][0]
        made = found.call(
            "POST", "/api/containers?wait=60", {"name": "bench", "egg": egg["id"], "limits": {"disk_bytes": 10 * size + 1024 * MIB}, "start": False}
        )
        at = f"/api/containers/{made['id']}"
        found.call("PUT", f"{at}/files/content?path=world/level.dat", {"content": "first"})
        ended(found, found.call("POST", f"{at}/backups", {}))  # the first one warms up
        folder = next(path.parent for path in found.data.rglob("world") if path.is_dir())
        fill(folder, size)
        archive, other = found.data / "raw.tar.gz", found.data / "raw"
        back, tarred, restored, untarred = [], [], [], []
        growth = Growth(found, "web", "worker", "agent")
        for _ in range(rounds):
            asked = found.call("POST", f"{at}/backups", {})
            back.append(ended(found, asked))
            tarred.append(timed("tar", "--use-compress-program=gzip -1", "-C", str(folder), "-cf", str(archive), "."))
            restored.append(ended(found, found.call("POST", f"{at}/backups/{asked['backup']['id']}/restore", {"start": False})))
            other.mkdir()
            untarred.append(timed("tar", "-C", str(other), "-xzf", str(archive)))
            shutil.rmtree(other)
        grown = growth.most()
        found.call("DELETE", f"{at}?force=true&wait=60")
    speed = [size / median(seconds) / 1e6 for seconds in (back, tarred, restored, untarred)]
    return [
        Figure(f"backup of {size // MIB} MiB in {size // FILE_BYTES} files", speed[0], "MB/s", "tar and gzip -1", speed[1]),
        Figure(f"restore of {size // MIB} MiB", speed[2], "MB/s", "tar -xz", speed[3]),
        Figure("memory that both cost panel, worker or agent", grown / MIB, "MiB", aim="<= 32 MiB", met=grown <= GROWTH_BYTES),
    ]
