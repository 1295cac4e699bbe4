"""The bundled definitions run without an engine."""

from __future__ import annotations

import json
import urllib.request

import pytest

from agent.protocol.messages import PortBinding, StopSpec
from agent.runtimes.base import ResumePoint
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import ROOT, created, free_port, take_all, take_until, until


def command_of(name: str) -> tuple[list[str], dict[str, str]]:
    egg = json.loads((ROOT / "eggs" / "bundled" / f"{name}.json").read_text(encoding="utf-8"))
    return egg["lormas"]["process_command"], {variable["env_variable"]: variable["default_value"] for variable in egg["variables"]}


@pytest.mark.parametrize(("name", "expected"), [("hello", "Hello from Lormas"), ("python-web", '"app"')])
async def test_a_web_egg_answers_on_its_host_port(runtime: ProcessRuntime, name: str, expected: str) -> None:
    command, env = command_of(name)
    host = free_port()
    port = PortBinding(container_port=8080, host_port=host)
    container_id = await created(runtime, command, env={**env, "SERVER_PORT": "8080", "SERVER_IP": "0.0.0.0"}, ports=[port])
    reader = await runtime.output(container_id, ResumePoint())
    report = await runtime.start(container_id)
    assert report.ports == [port]
    await take_until(reader, lambda taken: b"listening on port %d" % host in taken.stdout)

    def page() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{host}/", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    assert expected in await until(page, what="a page")
    report = await runtime.stop(container_id, StopSpec(signal="SIGINT", grace_seconds=10))
    assert report.state == "exited"
    assert (await runtime.start(container_id)).state == "running"


async def test_the_shell_worker_answers_and_stops_by_its_console(runtime: ProcessRuntime) -> None:
    command, env = command_of("shell-worker")
    container_id = await created(runtime, command, env={**env, "INTERVAL": "1", "TEXT": "tock"})
    reader = await runtime.output(container_id, ResumePoint())
    await runtime.start(container_id)
    taken = await take_until(reader, lambda taken: b"worker: 1 tock" in taken.stdout)
    await runtime.write_stdin(container_id, b"hello there\n")
    report = await runtime.stop(container_id, StopSpec(command="stop", grace_seconds=10))
    assert (report.state, report.exit_code) == ("exited", 0)
    taken = await take_all(await runtime.output(container_id, taken.resume()), into=taken)
    assert b"worker: you said: hello there\n" in taken.stdout
    assert b"worker: stopping after" in taken.stdout
