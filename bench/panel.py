"""A panel of its own for the measurements: the real quick start, with its own data folder and port, ended and removed afterwards."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EMAIL = "bench@example.org"
IDLE_SECONDS = 10


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Panel:
    """A running panel and a signed-in administrator on one kept connection."""

    def __init__(self, process: subprocess.Popen[str], *, port: int, data: Path, password: str, env: dict[str, str] | None = None) -> None:
        self.process = process
        self._env = env or {}
        self.port = port
        self.data = data
        self.password = password
        self.token = ""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._used = 0.0

    def call(self, method: str, path: str, body: Any = None, *, expect: tuple[int, ...] = (200, 201, 202, 204)) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._connection.close()  # the server closes what idles; http.client connects again by itself
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        self._used = time.monotonic()
        if answer.status not in expect:
            raise RuntimeError(f"{method} {path}: {answer.status} {raw[:500]!r}")
        return json.loads(raw) if raw else None

    def sign_in(self, email: str = EMAIL, password: str | None = None) -> str:
        found = self.call("POST", "/api/auth/sign-in", {"email": email, "password": password or self.password})
        self.token = str(found["access"])
        return self.token

    def in_django(self, code: str, **values: Any) -> Any:
        """Run a function body beside the panel, on its database; it sets `answer`. `values` is there as a dict."""
        wrapped = f"import json, sys, django\ndjango.setup()\nvalues = json.loads(sys.stdin.read())\n{code}\nprint(json.dumps(answer))"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "DATABASE_URL") if name in os.environ}
        env = {
            **kept,
            "DJANGO_SETTINGS_MODULE": "lormas.settings",
            "LORMAS_DATA": str(self.data),
            "PORT": str(self.port),
            "LOG_LEVEL": "error",
            **self._env,
        }
        done = subprocess.run(
            [sys.executable, "-c", wrapped], cwd=ROOT, env=env, input=json.dumps(values), capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return json.loads(done.stdout.strip().splitlines()[-1])

    def more_administrators(self, count: int) -> list[str]:
        """Access tokens of new administrators (the panel limits sockets per person)."""
        self.in_django(
            "from accounts.models import Role, User\n"
            "role = Role.objects.get(slug='administrator')\n"
            "answer = [str(User.objects.create_superuser(f'bench{i}@example.org', values['password'], username=f'bench{i}', role=role).pk)"
            " for i in range(values['count'])]",
            count=count, password=self.password,
        )  # fmt: skip
        own = self.token
        tokens = []
        for index in range(count):
            self.token = ""
            tokens.append(self.sign_in(f"bench{index}@example.org"))
        self.token = own
        return tokens

    def node_tokens(self, count: int) -> list[str]:
        """Register nodes and give their tokens."""
        found: list[str] = self.in_django(
            "from audit.services import SYSTEM\nfrom nodes.services import register_node\n"
            "answer = [register_node(name=f'idle-{i}', actor=SYSTEM)[1] for i in range(values['count'])]",
            count=count,
        )  # fmt: skip
        return found

    def pid(self, program: str) -> int:
        """Of a supervised program."""
        from lormas.quickstart.places import Places
        from lormas.quickstart.tree import Tree

        tree = Tree(str(Places(self.data).supervisor_socket))
        name = program if program in ("redis", "prepare") else f"lormas:{program}"
        return int(tree._call("getProcessInfo", name)["pid"])

    def all_pids(self) -> dict[str, int]:
        found = {"supervisord": self.process.pid}
        for name in ("redis", "web", "worker", "agent"):
            with contextlib.suppress(Exception):
                found[name] = self.pid(name)
        return {name: pid for name, pid in found.items() if pid}


def memory_bytes(pid: int) -> int:
    """Proportional set size: shared pages count once among those who share them."""
    for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if row.startswith("Pss:"):
            return int(row.split()[1]) * 1024
    return 0


def private_bytes(pid: int) -> int:
    """Memory that is the process' own. Pages of mapped files are not in it: the system takes those back when it likes, and a database's mapped
    pages grow with what was ever read of it."""
    for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if row.startswith("Pss_Anon:"):
            return int(row.split()[1]) * 1024
    return 0


def processor_seconds(pid: int) -> float:
    """What the process has used so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def panel(*, agent: bool = True, **env: str) -> Iterator[Panel]:
    """Start, wait until it is ready, and sign in."""
    data = Path(tempfile.mkdtemp(prefix="lormas-bench-"))
    password = secrets.token_urlsafe(12) + "aA1"
    port = free_port()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST", "DATABASE_URL", "REDIS_URL") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "lormas.cli", "run"],
        cwd=ROOT,
        env={
            **kept, "LORMAS_DATA": str(data), "PORT": str(port), "SUPERUSER_EMAIL": EMAIL, "SUPERUSER_PASSWORD": password, "LORMAS_DEMO": "0",
            "LORMAS_AGENT": "1" if agent else "0", "LOG_LEVEL": "warn", **env,
        },
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    said: list[str] = []
    try:
        assert process.stdout is not None
        for row in process.stdout:
            said.append(row)
            if "  Stop " in row:
                break
        else:
            raise RuntimeError("the panel did not start:\n" + "".join(said))
        found = Panel(process, port=port, data=data, password=password, env=env)
        found.sign_in()
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(data, ignore_errors=True)


def wait_for_node(found: Panel, *, seconds: float = 20) -> str:
    """The id of the local node, once it is active."""
    deadline = time.monotonic() + seconds
    while True:
        nodes = found.in_django("from nodes.models import Node\nanswer = [[str(n.pk), n.status] for n in Node.objects.all()]")
        if nodes and nodes[0][1] == "ACTIVE":
            return str(nodes[0][0])
        if time.monotonic() > deadline:
            raise RuntimeError(f"no node became active: {nodes}")
        time.sleep(0.1)
