"""What names a process is another one in a process that was forked from it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.nodes.rig import ROOT, surroundings

FORK = """
import json, os
import django
django.setup()
from agent.runtimes.docker import terminal
from agent.runtimes.process import inside
from lormas import health
from lormas.common import ids, live

def told():
    return {
        "process": ids.PROCESS_ID, "origin": live.ORIGIN.hex(), "started": health.STARTED,
        "docker run": terminal.RUN_MARK, "process run": inside.RUN_MARK,
    }

reading, writing = os.pipe()
if (child := os.fork()) == 0:
    os.write(writing, json.dumps({**told(), "pid": os.getpid()}).encode())
    os._exit(0)
os.close(writing)
with os.fdopen(reading) as stream:
    print(json.dumps([{**told(), "pid": os.getpid()}, json.load(stream)]))
os.waitpid(child, 0)
"""


def test_a_forked_process_has_names_and_a_beginning_of_its_own(transactional_db: None) -> None:
    """Else two panels, or two children of one Celery, would take each other's leases, and not hear what the other published."""
    environment = {**surroundings(), "DJANGO_SETTINGS_MODULE": "lormas.settings"}
    told = subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    one, other = json.loads(told.stdout)
    assert not [name for name in one if one[name] == other[name]]
    assert other["started"] > one["started"]
    assert all(f":{each['pid']}:" in each["process"] for each in (one, other))
    assert [len(each["origin"]) for each in (one, other)] == [16, 16]
