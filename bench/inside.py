"""Files up and down against the engine's archive API, a keystroke's echo against a raw exec, a command against `docker exec`."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from bench.figures import Figure, median, percentile
from bench.panel import Panel, panel, wait_for_node
from bench.rawengine import IMAGE, RawEngine, _UnixConnection, ensure_image

MIB = 1024 * 1024
GROWTH_BYTES = 32 * MIB
ECHO_MS = 5.0


def _pieces(size: int) -> Iterator[bytes]:
    piece = os.urandom(MIB)
    for _ in range(size // MIB):
        yield piece


def _peak(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


class Growth:
    """How much the peak of one of these programs rose above what it had."""

    def __init__(self, found: Panel, *programs: str) -> None:
        self._pids = [found.pid(program) for program in programs]
        self._before = []
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            self._before.append(_peak(pid, "VmRSS"))

    def most(self) -> int:
        return max(_peak(pid, "VmHWM") - before for pid, before in zip(self._pids, self._before, strict=True))


def _ours(found: Panel, at: str, size: int) -> tuple[float, float, int]:
    """(MB/s up, MB/s down, growth)."""
    growth = Growth(found, "web", "agent")
    headers = {"Authorization": f"Bearer {found.token}"}
    connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=300)
    begun = time.perf_counter()
    connection.request("PUT", f"{at}/files/content?path=tmp/bench.bin", _pieces(size), {**headers, "Content-Length": str(size)})
    answer = connection.getresponse()
    if answer.status >= 300:
        raise RuntimeError(f"upload: {answer.status} {answer.read()[:300]!r}")
    answer.read()
    up = size / (time.perf_counter() - begun) / 1e6
    connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=300)
    begun = time.perf_counter()
    connection.request("GET", f"{at}/files/download?path=tmp/bench.bin", headers=headers)
    answer = connection.getresponse()
    got = 0
    while data := answer.read(MIB):
        got += len(data)
    if got != size:
        raise RuntimeError(f"download: {got} of {size} bytes")
    return up, size / (time.perf_counter() - begun) / 1e6, growth.most()


def _raw(engine: RawEngine, ref: str, size: int) -> tuple[float, float]:
    head = tarfile.TarInfo("raw.bin")
    head.size = size

    def body() -> Iterator[bytes]:
        yield head.tobuf()
        yield from _pieces(size)
        yield b"\0" * 1024

    length = 512 + size + 1024
    connection = _UnixConnection(engine._path, 300)
    begun = time.perf_counter()
    connection.request(
        "PUT", f"/v1.41/containers/{ref}/archive?path=/tmp", body(), {"Content-Type": "application/x-tar", "Content-Length": str(length)}
    )
    answer = connection.getresponse()
    if answer.status >= 300:
        raise RuntimeError(f"archive: {answer.status} {answer.read()[:300]!r}")
    answer.read()
    up = size / (time.perf_counter() - begun) / 1e6
    connection = _UnixConnection(engine._path, 300)
    begun = time.perf_counter()
    connection.request("GET", f"/v1.41/containers/{ref}/archive?path=/tmp/raw.bin", headers={"Accept-Encoding": "identity"})
    answer = connection.getresponse()
    while answer.read(MIB):
        pass
    return up, size / (time.perf_counter() - begun) / 1e6


def _raw_terminal(engine: RawEngine, ref: str) -> socket.socket:
    """`cat` on a terminal, attached."""
    made = engine.call("POST", f"/containers/{ref}/exec", {"Cmd": ["cat"], "Tty": True, "AttachStdin": True, "AttachStdout": True})
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(30)
    sock.connect(engine._path)
    body = json.dumps({"Tty": True, "Detach": False}).encode()
    head = (
        f"POST /v1.41/exec/{made['Id']}/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    )
    sock.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    seen = io.BytesIO()
    while b"\r\n\r\n" not in seen.getvalue():
        seen.write(sock.recv(1))
    return sock


def _raw_echo(engine: RawEngine, ref: str, rounds: int) -> list[float]:
    sock = _raw_terminal(engine, ref)
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        sock.sendall(b"a")
        sock.recv(64)
        times.append((time.perf_counter() - begun) * 1000)
        time.sleep(0.01)
    sock.close()
    return times


def _our_echo(found: Panel, container_id: str, rounds: int) -> list[float]:
    times = []
    with connect(f"ws://127.0.0.1:{found.port}/ws", additional_headers={"Authorization": f"Bearer {found.token}"}, max_size=None, proxy=None) as ws:

        def until(kind: str) -> dict[str, Any]:
            while True:
                message: dict[str, Any] = json.loads(ws.recv(30))
                if message["type"] == kind:
                    return message
                if message["type"] == "error":
                    raise RuntimeError(str(message))

        ws.send(json.dumps({"type": "terminal_open", "container_id": container_id, "name": "bench", "cols": 80, "rows": 24, "command": ["cat"]}))
        terminal_id = until("terminal_opened")["terminal_id"]
        for _ in range(rounds):
            begun = time.perf_counter()
            ws.send(json.dumps({"type": "terminal_input", "terminal_id": terminal_id, "data": "a"}))
            until("terminal_output")
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.03)  # within the socket's budget of messages
        ws.send(json.dumps({"type": "terminal_close", "terminal_id": terminal_id, "kill": True}))
        until("terminal_closed")
    return times


def _commands(found: Panel, at: str, ref: str, rounds: int) -> tuple[list[float], list[float]]:
    ours, theirs = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        done = found.call("POST", f"{at}/exec", {"command": ["true"]})
        ours.append((time.perf_counter() - begun) * 1000)
        if done["exit_code"] != 0:
            raise RuntimeError(str(done))
        begun = time.perf_counter()
        subprocess.run(["docker", "exec", ref, "true"], check=True, timeout=60)
        theirs.append((time.perf_counter() - begun) * 1000)
    return ours, theirs


def measure(*, quick: bool) -> list[Figure]:
    ensure_image()
    size, rounds = (20 * MIB, 20) if quick else (100 * MIB, 150)
    engine = RawEngine()
    with panel(LORMAS_AGENT_RUNTIME="docker") as found:
        wait_for_node(found)
        made = found.call("POST", "/api/containers?wait=60", {"name": "bench-inside", "image": IMAGE, "command": ["sleep", "3600"]})
        at = f"/api/containers/{made['id']}"
        try:
            ref = engine.call("GET", "/containers/json", all="true", filters=f'{{"label":["lormas.container={made["id"]}"]}}')[0]["Id"]
            _ours(found, at, MIB)  # the first one warms up
            up, down, growth = _ours(found, at, size)
            raw_up, raw_down = _raw(engine, ref, size)
            echo, raw_echo = _our_echo(found, made["id"], rounds), _raw_echo(engine, ref, rounds)
            ours, theirs = _commands(found, at, ref, max(5, rounds // 5))
        finally:
            found.call("DELETE", f"{at}?force=true&wait=60")
    more = median(echo) - median(raw_echo)
    return [
        Figure(f"file up, {size // MIB} MiB", up, "MB/s", "the engine's PUT archive", raw_up),
        Figure(f"file down, {size // MIB} MiB", down, "MB/s", "the engine's GET archive", raw_down),
        Figure("memory that both cost panel or agent", growth / MIB, "MiB", aim="<= 32 MiB", met=growth <= GROWTH_BYTES),
        Figure("echo of a keystroke in a terminal, median", median(echo), "ms", "raw exec", median(raw_echo)),
        Figure("echo of a keystroke, p95", percentile(echo, 95), "ms", "raw exec", percentile(raw_echo, 95)),
        Figure("what Lormas adds to the echo, median", more, "ms", aim=f"<= {ECHO_MS:g} ms", met=more <= ECHO_MS),
        Figure("POST exec of `true`, median", median(ours), "ms", "docker exec", median(theirs)),
    ]
