"""The bundled eggs really run: their process commands, here, with this machine's shell and Python."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eggs.formats import parse
from eggs.rendering import Rendered, render
from eggs.services import BUNDLED


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bundled(name: str, values: dict[str, str], port: int) -> Rendered:
    parsed = parse((BUNDLED / f"{name}.json").read_bytes(), filename=f"{name}.json")
    assert parsed.warnings == []
    found = render(parsed.definition, values=values, primary_port=port, memory_bytes=64 * 1024**2)
    assert found.errors == []
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[list[str], Rendered], subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def act(argv: list[str], found: Rendered) -> subprocess.Popen[str]:
        env = {**found.env, "PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            argv, cwd=tmp_path, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        running.append(process)
        return process

    yield act
    for process in running:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate(timeout=10)


def page(port: int) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def test_hello_serves_its_page_and_text_stays_text(start: Any, eventually: Any) -> None:
    """H01: the greeting is a person's text."""
    port = free_port()
    found = bundled("hello", {"MESSAGE": "<script>alert(1)</script> & $(id) %s"}, port)
    process = start(found.process_command, found)
    html = eventually(lambda: page(port), seconds=20, what="the page")
    assert "&lt;script>alert(1)&lt;/script> &amp; $(id) %s" in html
    assert str(port) in html
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) is not None


def test_the_python_app_answers(start: Any, eventually: Any) -> None:
    port = free_port()
    found = bundled("python-web", {"APP_NAME": "mine"}, port)
    start(found.process_command, found)
    assert '"app": "mine"' in eventually(lambda: page(port), seconds=20, what="the app")


@pytest.mark.parametrize("how", ["process", "shell"])
def test_the_worker_prints_answers_and_stops_by_its_command(start: Any, how: str) -> None:
    found = bundled("shell-worker", {"INTERVAL": "1", "TEXT": "tock"}, 1)
    argv = found.process_command
    if how == "shell":
        busybox = Path("/bin/busybox")
        argv = [str(busybox), "sh", "-c", *found.command] if busybox.exists() else ["bash", "-c", *found.command]
    process = start(argv, found)
    assert "worker: started" in process.stdout.readline()
    process.stdin.write("hello\n")
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(3)]
    assert "worker: you said: hello\n" in lines
    assert any("tock" in line for line in lines)
    assert found.stop.command == "stop"
    process.stdin.write("stop\n")
    process.stdin.flush()
    assert process.wait(10) == 0
