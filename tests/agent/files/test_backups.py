"""A data folder as an archive, and back: whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.backups import gzips, swapping
from agent.backups.desk import Backups
from agent.files.desk import FileDesk
from agent.files.tree import Tree
from agent.protocol import backups as ask
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.inside import Place
from tests.agent.files.conftest import Sent

SEED = random.Random(7)


class Node:
    """The folder of one container, and the desk that backs it up."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "data"
        self.folder.mkdir()
        self.notes = tmp_path / "restores"
        self.state = "exited"
        self.whole = False

        async def place(_: str) -> Place:
            return Place(self.folder, "/data", (os.geteuid(), os.getegid()), is_whole=self.whole)

        async def inspect(_: str) -> Any:
            return SimpleNamespace(state=self.state)

        runtime: Any = SimpleNamespace(inside=SimpleNamespace(place=place), inspect=inspect)
        self.desk = FileDesk(runtime)
        self.backups = Backups(self.desk, runtime, self.notes)

    async def read(self, *ignore: str) -> tuple[bytes, dict[str, Any]]:
        pipe = Sent()
        end = await self.backups.run("backup.read", "c", ask.BackupRead(ignore=list(ignore)), pipe)
        return bytes(pipe.got), end

    async def write(self, data: bytes, *, sent: bytes | None = None, breaks: bool = False, quota: int = 0) -> dict[str, Any]:
        given = data if sent is None else sent
        pieces = [given[at : at + 60_000] for at in range(0, len(given), 60_000)]
        asked = ask.BackupWrite(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), quota_bytes=quota)
        end = await self.backups.run("backup.write", "c", asked, Sent(*pieces, breaks=breaks))
        await asyncio.gather(*self.backups._clearing)
        return end

    def content(self) -> dict[str, Any]:
        """What a program in the container would see, but for the hidden folder's inside."""
        found: dict[str, Any] = {}
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if name.startswith(".lormas"):
                continue
            how = path.lstat()
            kind: Any = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
            found[name] = (kind, None if path.is_symlink() else how.st_mode & 0o777, how.st_uid)
        return found

    def left(self) -> list[str]:
        """What restores have left behind."""
        return [str(path) for path in (self.folder / ".lormas" / "restores").glob("*")] + [str(path) for path in self.notes.glob("*")]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    (made.folder / "world").mkdir(mode=0o750)
    (made.folder / "world/level.dat").write_bytes(SEED.randbytes(700_000))
    (made.folder / "empty").mkdir()
    (made.folder / "run.sh").write_text("echo hi\n")
    (made.folder / "run.sh").chmod(0o755)
    (made.folder / "ünï cödé\n").write_text("x")
    (made.folder / "latest").symlink_to("world/level.dat")
    (made.folder / "out").symlink_to("/etc/hostname")
    (made.folder / "up").symlink_to("../../outside")
    os.utime(made.folder / "run.sh", (1_600_000_000, 1_600_000_000))
    return made


def archive(*members: tuple[str, Any], fill: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    """A tar.gz as somebody else would make it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                tar.addfile(info)
        if fill is not None:
            fill(tar)
    packer = gzips.packer()
    return bytes(packer.compress(out.getvalue()) + packer.flush())


def names_in(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


async def test_what_was_backed_up_comes_back_as_it_was_and_what_came_since_goes(node: Node) -> None:
    before = node.content()
    data, end = await node.read()
    assert (end["size_bytes"], end["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (end["files"], end["left_out"]) == (6, 0) and end["content_bytes"] > 700_000
    (node.folder / "world/level.dat").write_bytes(b"broken")
    (node.folder / "since").mkdir()
    (node.folder / "since/x").write_text("new")
    (node.folder / "run.sh").unlink()

    done = await node.write(data)

    assert done["files"] == 6 and node.content() == before and not node.left()
    assert (node.folder / "run.sh").stat().st_mtime == 1_600_000_000
    assert "run.sh" in names_in(data), "any tar reads it"


async def test_an_empty_folder_is_a_backup_too(node: Node) -> None:
    data, end = await node.read("*")
    assert end["files"] == 0
    await node.write(data)
    assert node.content() == {} and not node.left()


async def test_ignored_and_special_files_stay_out_and_what_could_not_be_read_is_counted(node: Node) -> None:
    os.mkfifo(node.folder / "pipe")
    (node.folder / "cache").mkdir()
    (node.folder / "cache/a").write_text("a")
    (node.folder / "a.log").write_text("a")
    data, end = await node.read("*.log", "cache/")
    names = names_in(data)
    assert not {"cache", "cache/a", "a.log", "pipe", ".lormas"} & set(names) and "run.sh" in names
    assert end["left_out"] == 1


@pytest.mark.parametrize(
    ("how", "code"),
    [("cut", "unsafe_archive"), ("flipped", None), ("breaks", "cancelled"), ("other", "checksum_mismatch"), ("quota", "quota_exceeded")],
)
async def test_a_restore_that_fails_leaves_the_old_files_and_nothing_else(node: Node, how: str, code: str | None) -> None:
    data, _ = await node.read()
    (node.folder / "run.sh").write_text("changed since")
    before = node.content()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    sent = {"cut": data[: len(data) // 2], "flipped": bytes(flipped), "breaks": data[: len(data) // 2], "other": archive(("a", b"a"))}.get(how)
    with pytest.raises(RuntimeFailure) as failure:
        await node.write(data, sent=sent, breaks=how == "breaks", quota=1000 if how == "quota" else 0)
    assert code is None or failure.value.code == code
    assert node.content() == before and not node.left()


@pytest.mark.parametrize(
    "member",
    [
        ("../out", b"x"),
        ("/abs", b"x"),
        (".lormas/trash/x", b"x"),
        ("hard", (tarfile.LNKTYPE, "run.sh")),
        ("dev", (tarfile.CHRTYPE, "")),
        ("a/b", b"x"),
    ],
)
async def test_an_archive_that_no_backup_is_changes_nothing(node: Node, member: Any, tmp_path: Path) -> None:
    """B07-B09: whoever writes to the destination gains nothing: names that lead out, hard links, devices, names below what is no folder of it."""
    before = node.content()
    with pytest.raises(RuntimeFailure):
        await node.write(archive(("a", (tarfile.SYMTYPE, str(tmp_path))), member))
    assert node.content() == before and not node.left()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "restores"]


async def test_a_container_that_runs_or_has_no_folder_is_refused(node: Node) -> None:
    data, _ = await node.read()
    node.state = "running"
    with pytest.raises(RuntimeFailure, match="Stop it first"):
        await node.write(data)
    assert (await node.read())[1]["files"] == 6, "it may be backed up while it runs"
    node.whole = True
    with pytest.raises(RuntimeFailure) as failure:
        await node.read()
    assert failure.value.code == "no_data_folder"


class Death(BaseException):
    """The agent is killed here."""


async def test_a_death_amid_the_renames_is_gone_on_from(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old and new are never mixed: whichever rename was the last one, at the next start the new content is put in place whole."""
    real = os.rename
    for dies_after in range(12):
        wanted = {f"new-{number}": (b"new", 0o600, os.geteuid()) for number in range(3)}
        for path in node.folder.iterdir():
            if path.name.startswith("new-"):
                path.rename(node.folder / f"old-{path.name}")
        calls = 0

        def rename(*args: Any, **kwargs: Any) -> None:
            nonlocal calls
            calls += 1
            if calls > dies_after:
                raise Death
            real(*args, **kwargs)

        with Tree(node.folder) as tree, tree.hidden(swapping.RESTORES) as restores:
            swapping.begin(restores, "r")
            for name in wanted:
                descriptor = os.open(f"r/new/{name}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=restores)
                os.write(descriptor, b"new")
                os.close(descriptor)
            node.backups._note(node.notes / "c")
            with monkeypatch.context() as patched:
                patched.setattr(swapping.os, "rename", rename)
                try:
                    swapping.swap(tree, restores, "r")
                except Death:
                    pass
        await Backups(node.desk, node.backups._runtime, node.notes).recover()
        assert node.content() == wanted and not node.left(), dies_after


async def test_a_death_before_the_renames_leaves_the_old_files(node: Node) -> None:
    before = node.content()
    with Tree(node.folder) as tree, tree.hidden(swapping.RESTORES) as restores:
        swapping.begin(restores, "r")
    (node.folder / ".lormas/restores/r/new/half").write_text("x")
    node.backups._note(node.notes / "c")
    await node.backups.recover()
    assert node.content() == before and not node.left()
