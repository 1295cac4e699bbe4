"""The garbage collector of the programs that serve looks through what is made, not through what was loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOLD = "import gc, json; print(json.dumps([gc.isenabled(), gc.get_freeze_count(), len(gc.get_objects())]), flush=True); import os; os._exit(0)"
WEB = f"""
import daphne.server
daphne.server.Server.run = lambda self: exec({TOLD!r})
from lormas.quickstart import web
web.main()
"""
WORKER = f"""
import celery.beat
celery.beat.EmbeddedService = lambda *a, **k: type("Beat", (), {{"service": type("S", (), {{}})(), "start": lambda self: exec({TOLD!r})}})()
from lormas.quickstart import worker
worker.main()
"""


@pytest.mark.parametrize("program", [WEB, WORKER], ids=["web", "worker"])
def test_what_was_loaded_is_set_apart_when_a_program_begins_to_serve(program: str, tmp_path: Path) -> None:
    env = {**os.environ, "LORMAS_DATA": str(tmp_path), "LOG_LEVEL": "error"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    collects, apart, left = json.loads(done.stdout.strip().splitlines()[-1])
    assert collects, "what is made from now on is collected"
    assert apart > 50_000 and left < apart / 20, (apart, left)
