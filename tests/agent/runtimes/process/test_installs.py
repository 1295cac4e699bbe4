"""Install scripts without an engine: only where the node's owner allows it, and it says what differs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.parts import InstallScript
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.policy import LocalPolicy
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import INSTANCE, spec_of, until

SCRIPT = 'echo "$WHO" > /mnt/server/made\r\necho in $(pwd)\r\nexit 4\r\n'


async def opened(folder: Path, *, allowed: bool = True) -> ProcessRuntime:
    runtime = ProcessRuntime(root=folder, policy=LocalPolicy(install_scripts=allowed))
    await runtime.open(instance=INSTANCE)
    return runtime


def marked(container_id: str) -> list[int]:
    """Processes that carry this installer's mark, seen from outside."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{container_id}-installer".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def test_it_is_refused_unless_the_node_allows_it(tmp_path: Path) -> None:
    """A13: the panel can't loosen that."""
    runtime = await opened(tmp_path, allowed=False)
    assert "install" not in runtime.capabilities
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.installs.begin(spec_of(["true"]), InstallScript(image="x", script=SCRIPT), operation_id="one")
    assert refused.value.code == "policy_denied"
    assert await runtime.installs.all() == {}
    await runtime.close()


async def test_it_runs_in_the_data_folder_and_says_what_it_is(tmp_path: Path) -> None:
    runtime = await opened(tmp_path)
    assert "install" in runtime.capabilities
    spec = spec_of(["true"])
    install = InstallScript(image="example/installer", script=SCRIPT, entrypoint="/no/such/ash", env={"WHO": "you"})
    await runtime.installs.begin(spec, install, operation_id="one")
    out = b"".join([data async for data in runtime.installs.output(spec.container_id)]).decode()
    state: Any = await until(lambda: runtime.installs.state(spec.container_id))
    assert (state.operation_id, state.exit_code) == ("one", 4)
    first, rest = out.split("\n", 1)
    assert first.startswith(f"Without an engine: this script runs as a plain program of the node, as user {os.geteuid()}.")
    data = runtime._folders.data_of(spec.container_id)
    assert rest == f"in {data}\n"
    assert (data / "made").read_text() == "you\n"
    await runtime.installs.end(spec.container_id)
    assert (data / "made").exists()
    assert await runtime.installs.all() == {}
    await runtime.close()


async def test_nothing_is_left_of_one_that_is_ended_and_a_restart_begins_anew(tmp_path: Path) -> None:
    """R04: no twin; what the first try had started is gone."""
    runtime = await opened(tmp_path)
    spec = spec_of(["true"])
    install = InstallScript(image="x", script="echo on >> runs\n(setsid sleep 600 &)\nsleep 600\n", entrypoint="sh")
    me = spec.container_id
    await runtime.installs.begin(spec, install, operation_id="one")
    await until(lambda: len(marked(me)) >= 2)
    await runtime.installs.begin(spec, install, operation_id="one")
    data = runtime._folders.data_of(me)
    assert (data / "runs").read_text() == "on\n", "the same operation is not begun twice"
    await runtime.close()
    again = await opened(tmp_path)
    left: Any = await again.installs.state(me)
    assert (left.operation_id, left.exit_code) == ("one", 137), "it died with its agent"
    await again.installs.begin(spec, install, operation_id="one")
    await until(lambda: (data / "runs").read_text() == "on\non\n")
    await again.installs.end(me)
    await until(lambda: not marked(me))
    await again.close()
    await asyncio.sleep(0)
