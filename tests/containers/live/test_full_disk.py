"""The disk that the panel keeps bodies on is really small, and fills while they come (SECURITY J03)."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from tests.nodes.rig import Panel

MIB = 1024 * 1024
FILES = b"/api/containers/0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000/files/content?path=x"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Sender:
    """A client that sends a body piece by piece, and reads what is answered when it is told to."""

    def __init__(self, port: int, size: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.sendall(b"PUT " + FILES + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> str:
        said = b""
        while data := self.socket.recv(65536):
            said += data
        self.socket.close()
        return said.decode()


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_of_two_bodies_that_fit_alone_one_is_refused_and_the_disk_is_as_free_as_before(small_disk: Path, tmp_path: Path, eventually: Any) -> None:
    """J03: the refusal is read though its sender still sends; the other is asked who it is, as ever."""
    panel = Panel(log=tmp_path / "panel.log", TMPDIR=str(small_disk)).start()
    try:
        alone = Sender(panel.port, 14 * MIB)
        for _ in range(14):
            alone.send(b"x" * MIB)
        assert " 401 " in alone.answer()
        eventually(lambda: free(small_disk) > 23 * MIB)
        both = [Sender(panel.port, 14 * MIB) for _ in range(2)]
        for _ in range(14):
            for one in both:
                one.send(b"x" * MIB)
        answers = sorted(one.answer().split("\r\n", 1)[0] for one in both)
        assert answers == ["HTTP/1.1 401 Unauthorized", "HTTP/1.1 507 Insufficient Storage"]
        eventually(lambda: free(small_disk) > 23 * MIB)
        assert "Traceback" not in panel.said()
    finally:
        panel.kill()


@pytest.mark.redis
@pytest.mark.django_db
def test_a_form_whose_file_finds_no_place_is_told_so(running: Any, alice: Any, small_disk: Path, settings: Any) -> None:
    """J03: 507 with words, not a fault of ours."""
    settings.FILE_UPLOAD_TEMP_DIR = str(small_disk)
    (small_disk / "rival").write_bytes(b"r" * (23 * MIB))
    client = APIClient()
    client.force_authenticate(alice)
    sent = client.post(f"/api/containers/{running.pk}/files/upload", {"f": SimpleUploadedFile("big", b"x" * (4 * MIB))}, format="multipart")
    assert (sent.status_code, sent.json()["code"]) == (507, "storage_full"), sent.content
    assert [path.name for path in small_disk.iterdir()] == ["rival"]
