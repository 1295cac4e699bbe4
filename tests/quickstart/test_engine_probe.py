"""What the quick start finds out about a Docker engine."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lormas.quickstart import engine


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[object]:
    """Serve one raw answer on a unix socket; gives the DOCKER_HOST."""
    sockets: list[socket.socket] = []

    def start(answer: bytes) -> str:
        file = tmp_path / f"engine{len(sockets)}.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(file))
        listener.listen(1)
        sockets.append(listener)

        def once() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        threading.Thread(target=once, daemon=True).start()
        return f"unix://{file}"

    yield start
    for listener in sockets:
        listener.close()


def test_an_engine_that_answers_is_ok_and_tells_its_versions(serve) -> None:
    answer = engine.probe(serve(b"HTTP/1.0 200 OK\r\nApi-Version: 1.47\r\nServer: Docker/27.3.1 (linux)\r\n\r\nOK"))
    assert answer.ok
    assert (answer.version, answer.api_version) == ("27.3.1", "1.47")


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"HTTP/1.0 200 OK\r\nApi-Version: 1.40\r\n\r\nOK", "1.41 is needed"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "no Docker engine"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no Docker engine"),
        (b"", "no Docker engine"),
    ],
)
def test_what_is_no_usable_engine_is_named_with_a_remedy(serve, raw: bytes, word: str) -> None:
    answer = engine.probe(serve(raw))
    assert not answer.ok
    assert word in answer.problem
    assert answer.remedy


def test_no_socket_is_a_sentence_not_an_exception(tmp_path: Path) -> None:
    answer = engine.probe(f"unix://{tmp_path}/nothing.sock")
    assert not answer.ok
    assert "no engine answers" in answer.problem


def test_an_engine_that_hangs_is_told_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:  # accepts into its backlog, never answers
        listener.bind(str(tmp_path / "hang.sock"))
        listener.listen(1)
        answer = engine.probe(str(tmp_path / "hang.sock"), seconds=0.2)
    assert not answer.ok
    assert "0.2 s" in answer.problem


def test_a_dynamically_linked_program_is_not_taken_for_static(tmp_path: Path) -> None:
    import sys

    assert not engine._is_static(Path(sys.executable).resolve())
    (tmp_path / "text").write_text("#!/bin/sh\n")
    assert not engine._is_static(tmp_path / "text")


@pytest.mark.docker
def test_the_imported_busybox_runs_and_is_not_imported_twice() -> None:
    name = f"lormas-test/quickstart:{os.getpid()}"
    host = os.environ.get("DOCKER_HOST")
    if engine.static_busybox() is None:
        pytest.fail("apt-get install busybox-static")
    with engine.client(host) as client:
        try:
            assert engine.import_busybox(host, name)
            first = client.images.get(name).id
            assert engine.import_busybox(host, name)
            assert client.images.get(name).id == first
            assert client.containers.run(name, ["sh", "-c", "echo $((6 * 7)) | cat"], remove=True, network_mode="none").strip() == b"42"
        finally:
            client.images.remove(name, force=True)
