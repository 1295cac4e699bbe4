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
    file = next(BUNDLED.glob(f"{name}.*"))
    parsed = parse(file.read_bytes(), filename=file.name)
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
    html = eventually(lambda: page(port), seconds=60, what="the page")
    assert "&lt;script>alert(1)&lt;/script> &amp; $(id) %s" in html
    assert str(port) in html
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) is not None


def test_the_python_app_answers(start: Any, eventually: Any) -> None:
    port = free_port()
    found = bundled("python-web", {"APP_NAME": "mine"}, port)
    start(found.process_command, found)
    assert '"app": "mine"' in eventually(lambda: page(port), seconds=60, what="the app")


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


ALL = sorted(file.stem for file in BUNDLED.iterdir())
ASKED = {"postgresql": "POSTGRES_PASSWORD", "mariadb": "MARIADB_PASSWORD", "valkey": "VALKEY_PASSWORD"}


@pytest.mark.parametrize("name", ALL)
def test_each_is_filed_described_and_starts_with_its_defaults(name: str) -> None:
    """One click in the library; only what keeps a secret asks for it first."""
    from lormas.templatetags.console import icon

    file = next(BUNDLED.glob(f"{name}.*"))
    egg = parse(file.read_bytes(), filename=file.name).definition
    assert egg.category
    assert icon(egg.icon) != icon("no-such-icon")
    assert len(egg.description) > 40
    assert egg.privileges == []
    found = render(egg, values={}, primary_port=1234, memory_bytes=2**30, privileged=False)
    assert [error.field for error in found.errors] == ([f"variables.{ASKED[name]}"] if name in ASKED else [])
    if egg.runs == "startup":
        for argv in (found.shell_argv, found.process_command):
            if argv[0].rpartition("/")[2] == "sh":
                assert subprocess.run(["bash", "-n", "-c", argv[2]], capture_output=True, check=False, timeout=20).returncode == 0


def test_uuids_are_apart() -> None:
    uuids = [parse(file.read_bytes(), filename=file.name).definition.uuid for file in BUNDLED.iterdir()]
    assert len(set(uuids)) == len(uuids) == len(ALL)


def stand_in(folder: Path, name: str, script: str) -> str:
    """A program of that name for PATH; gives the folder."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


def run(found: Rendered, folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {**found.env, "PATH": path or os.environ["PATH"]}
    return subprocess.run(found.shell_argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_site_gets_a_configuration_of_its_own_and_keeps_its_pages(tmp_path: Path) -> None:
    """nginx itself is a stand-in here: what it is given is checked."""
    path = stand_in(tmp_path, "nginx", 'echo "nginx: $*"; cat run/nginx.conf')
    found = bundled("static-site", {"LISTING": "on"}, 8123)
    done = run(found, tmp_path, path)
    assert done.stdout.startswith(f"site: listening on port 8123\nnginx: -p {tmp_path}/ -c run/nginx.conf -g daemon off;\npid run/nginx.pid;")
    assert "listen 8123; root www; index index.html; autoindex on;" in done.stdout
    assert done.stdout.count("{") == done.stdout.count("}")
    (tmp_path / "www" / "index.html").write_text("mine")
    run(found, tmp_path, path)
    assert (tmp_path / "www" / "index.html").read_text() == "mine"


def test_the_program_starts_and_its_packages_are_installed_once(tmp_path: Path, start: Any) -> None:
    found = bundled("python-program", {}, 1)
    process = start(found.shell_argv, found)
    assert [process.stdout.readline() for _ in range(2)] == ["program: started\n", "program: 1\n"]
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) == 0
    path = stand_in(tmp_path, "python3", 'echo "python3 $*"; [ "$2" != pip ] || mkdir -p .packages')
    (tmp_path / "requirements.txt").write_text("something\n")
    first, second = run(found, tmp_path, path).stdout, run(found, tmp_path, path).stdout
    assert "pip install" in first
    assert "pip install" not in second
    assert second.endswith("python3 -u main.py\n")


def test_the_node_app_writes_its_sample_once_and_installs_once(tmp_path: Path) -> None:
    """Node.js is a stand-in: its sample is only compared."""
    stand_in(tmp_path, "npm", 'echo "npm $*"; mkdir node_modules')
    path = stand_in(tmp_path, "node", 'echo "node $*"')
    found = bundled("node-app", {}, 1)
    assert run(found, tmp_path, path).stdout == "node index.js\n"
    assert (tmp_path / "index.js").read_text() == found.env["SAMPLE_SOURCE"]
    (tmp_path / "package.json").write_text("{}")
    assert run(found, tmp_path, path).stdout == "npm install --omit=dev --no-audit --no-fund\nnode index.js\n"
    assert run(found, tmp_path, path).stdout == "node index.js\n"


def test_the_sandbox_waits_and_goes_when_told(start: Any) -> None:
    found = bundled("sandbox", {}, 1)
    process = start(found.shell_argv, found)
    assert process.stdout.readline() == "sandbox: ready, open the terminal\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert process.stdout.readline() == "sandbox: goodbye\n"


JAR = b"PK\x03\x04 a server"


@pytest.mark.parametrize(("wanted", "sha1", "code"), [("latest", "", 0), ("1.0", "", 0), ("9.9", "", 1), ("latest", "0" * 40, 1)])
def test_the_minecraft_script_takes_what_was_promised_and_nothing_else(tmp_path: Path, wanted: str, sha1: str, code: int) -> None:
    """Against a manifest on loopback; Mojang's own was not tried."""
    import hashlib
    import json
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    server: ThreadingHTTPServer

    class Mojang(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here = f"http://127.0.0.1:{server.server_port}"
            bodies = {
                "/manifest": {"latest": {"release": "1.1", "snapshot": "1.2"}, "versions": [{"id": i, "url": f"{here}/{i}"} for i in ("1.1", "1.0")]},
                "/1.1": {"downloads": {"server": {"url": f"{here}/jar", "size": len(JAR), "sha1": sha1 or hashlib.sha1(JAR).hexdigest()}}},
            }
            bodies["/1.0"] = bodies["/1.1"]
            data = JAR if self.path == "/jar" else json.dumps(bodies[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Mojang)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        file = BUNDLED / "minecraft.yaml"
        egg = parse(file.read_bytes(), filename=file.name).definition
        values = {"MINECRAFT_VERSION": wanted, "MANIFEST_URL": f"http://127.0.0.1:{server.server_port}/manifest"}
        found = render(egg, values=values, primary_port=25565)
        assert found.errors == []
        (tmp_path / "install.sh").write_text(egg.install.script)
        env = {**found.env, "INSTALL_FOLDER": str(tmp_path), "PATH": os.environ["PATH"]}
        argv = [egg.install.entrypoint, "install.sh"]
        done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == code, done.stderr
    assert (tmp_path / "server.jar").exists() == (code == 0)
    assert code or (tmp_path / "server.jar").read_bytes() == JAR
    assert code == 0 or "install: " in done.stdout


def test_databases_are_started_as_their_images_say() -> None:
    found = bundled("valkey", {"VALKEY_PASSWORD": "a b'c$(id)", "MAX_MEMORY": "64"}, 6379)
    assert found.entrypoint is None
    assert found.command[found.command.index("--requirepass") + 1] == "a b'c$(id)", "one argument, no shell"
    assert "64mb" in found.command
    assert found.user == "999:999"
    found = bundled("postgresql", {"POSTGRES_PASSWORD": "secret-secret"}, 5432)
    assert (found.command, found.entrypoint, found.data_target, found.stop.signal) == ([], None, "/var/lib/postgresql/data", "SIGINT")
    assert "STARTUP" not in found.env
