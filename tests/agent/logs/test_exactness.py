"""The agent is killed twice while a container prints 200,000 numbered lines: each line is stored once, or one declared gap accounts for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.logs.records import decode_entries
from agent.logs.store import ContainerLog
from agent.protocol.messages import ContainerSpec
from agent.runtimes.base import Runtime
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.process import ProcessRuntime
from tests.sizes import bytes_of

OWNER = Path(__file__).with_name("owner.py")
ROOT = Path(__file__).parents[3]

# Numbered lines on both streams, in bursts with pauses, some lines cut in the middle by a pause.
SCRIPT = """
n=0
while [ $n -lt 200000 ]; do
  n=$((n+1))
  echo "line $n"
  case $n in
    *0000) printf 'half '; sleep 0.15; echo "way $n"; echo "err $n" >&2 ;;
  esac
done
read go
"""
"""It ends when it is told: on a slow machine it would be over before the third owner attaches, and what is over is not waited for."""


class Owner:
    def __init__(self, kind: str, folder: Path, instance: str, container_id: str, act: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(OWNER), kind, str(folder), instance, container_id, *([act] if act else [])],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )

    def hears(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def owners() -> Iterator[list[Owner]]:
    made: list[Owner] = []
    yield made
    for owner in made:
        owner.kill()


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, Runtime, str, str]]:
    kind: str = request.param
    runtime: Runtime = DockerRuntime() if kind == "docker" else ProcessRuntime(root=tmp_path / "process")
    instance, container_id = f"exact-{uuid.uuid4().hex[:8]}", str(uuid.uuid4())
    await runtime.info()
    await runtime.open(instance=instance)
    try:
        yield kind, runtime, instance, container_id
    finally:
        await runtime.remove(container_id)
        await runtime.close()


def stored(folder: Path, container_id: str) -> tuple[list[Any], ContainerLog]:
    log = ContainerLog(folder / "logs" / container_id)
    log.open()
    raws = [raw for segment in log.segments for raw in segment.data().split(b"\n") if raw.startswith(b"[")]
    return decode_entries(raws), log


def lines_so_far(folder: Path, container_id: str) -> int:
    return bytes_of((folder / "logs" / container_id).glob("*.log*"))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_every_line_is_stored_once_though_the_agent_is_killed_twice(
    home: tuple[str, Runtime, str, str], tmp_path: Path, owners: list[Owner]
) -> None:
    """R03, F10: the resume point is stored in the same write as the lines, so nothing is lost and nothing doubled."""
    kind, runtime, instance, container_id = home
    spec = ContainerSpec(container_id=container_id, name="exact", image="lormas-test/busybox:1", command=["sh", "-c", SCRIPT])
    await runtime.create(spec, epoch=1, operation_id="op-1")

    owners.append(Owner(kind, tmp_path, instance, container_id, "start"))
    owners[-1].hears("ready")
    for _ in range(2):
        before = lines_so_far(tmp_path, container_id)
        deadline = time.monotonic() + 60
        while lines_so_far(tmp_path, container_id) < before + 300_000:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        owners[-1].kill()
        time.sleep(0.4)  # output that nobody sees: it must come from the engine's log or the spool
        owners.append(Owner(kind, tmp_path, instance, container_id))
        owners[-1].hears("ready")
    await runtime.write_stdin(container_id, b"go\n")
    owners[-1].hears("drained")
    owners[-1].process.wait(30)

    entries, log = stored(tmp_path, container_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    seen = Counter(entry.text for entry in entries if entry.stream == "application")
    assert not [text for text, times in seen.items() if times > 1], "doubled"
    missing = [number for number in range(1, 200_001) if not seen[f"line {number}"]]
    assert len(missing) == sum(lost or 0 for _, lost in log.gaps), (missing[:5], log.gaps)
    assert not missing, "no gap was needed here"
    assert [number for number in range(10_000, 200_001, 10_000) if not seen[f"half way {number}"]] == []
    numbers = [int(entry.text.split()[1]) for entry in entries if entry.text.startswith("line ")]
    assert numbers == sorted(numbers)
    errors = [entry.text for entry in entries if entry.stream == "error"]
    assert errors == [f"err {number}" for number in range(10_000, 200_001, 10_000)]


async def test_a_container_that_ended_while_the_agent_was_dead_is_read_to_its_end(
    home: tuple[str, Runtime, str, str], tmp_path: Path, owners: list[Owner]
) -> None:
    kind, runtime, instance, container_id = home
    script = "echo one; echo two; sleep 0.7; echo three; printf four; exit 4"
    spec = ContainerSpec(container_id=container_id, name="exact", image="lormas-test/busybox:1", command=["sh", "-c", script])
    await runtime.create(spec, epoch=1, operation_id="op-1")
    owners.append(Owner(kind, tmp_path, instance, container_id, "start"))
    owners[-1].hears("ready")
    time.sleep(0.3)
    owners[-1].kill()
    deadline = time.monotonic() + 60
    while (report := await runtime.inspect(container_id)) is None or report.state != "exited":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert report.exit_code == 4
    for _ in range(2):  # and a second look adds nothing
        owners.append(Owner(kind, tmp_path, instance, container_id))
        owners[-1].hears("ready")
        deadline = time.monotonic() + 60
        while len((found := stored(tmp_path, container_id))[0]) < 4:
            assert time.monotonic() < deadline, found[0]
            time.sleep(0.05)
        time.sleep(0.3)
        owners[-1].kill()
    assert [entry.text for entry in stored(tmp_path, container_id)[0]] == ["one", "two", "three", "four"]
