"""A tree of files on its way to another node: what comes out is what went in, wherever it is cut."""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
import pytest

from agent.files.beneath import FileRefused
from agent.migrate import receiver, records


class Bytes:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)


def opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def digest(folder: Path) -> str:
    root = opened(folder)
    try:
        return records.digest(root, owners=True)[0]
    finally:
        os.close(root)


def sent(folder: Path, *, path: bytes = b"", offset: int = -1) -> bytes:
    sink, root = Bytes(), opened(folder)
    try:
        records.send(root, sink, path=path, offset=offset)
    finally:
        os.close(root)
    return bytes(sink.data)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Everything that a folder may hold, with names and times that are easily lost."""
    folder = tmp_path / "tree"
    (folder / "a" / "deep" / "er").mkdir(parents=True)
    (folder / "a.b").mkdir(mode=0o750)
    (folder / "a" / "big").write_bytes(random.Random(1).randbytes(700_000))
    (folder / "a" / "deep" / "er" / "empty").touch()
    (folder / "a.b" / "script").write_text("#!/bin/sh\n")
    (folder / "a.b" / "script").chmod(0o4755)
    os.utime(folder / "a.b" / "script", ns=(1, 1_600_000_000_123_456_789))
    (folder / os.fsdecode(b"\xff name\n")).write_text("odd")
    (folder / "link").symlink_to("../../etc/passwd")
    (folder / "dangling").symlink_to("nowhere")
    os.link(folder / "a" / "big", folder / "z-again")
    os.mkfifo(folder / "pipe", 0o620)
    (folder / ".lormas").mkdir()
    (folder / ".lormas" / "trash").write_text("also comes")
    return folder


def fresh(tmp_path: Path, name: str = "copy") -> tuple[Path, Path]:
    folder = tmp_path / name
    folder.mkdir()
    return folder, tmp_path / "notes" / f"{name}.json"


def test_what_comes_out_is_what_went_in(tree: Path, tmp_path: Path) -> None:
    folder, file = fresh(tmp_path)
    taking = receiver.Receiver(folder, file, receiver.Note("m1"))
    data = sent(tree)
    for at in range(0, len(data), 7919):
        taking.feed(data[at : at + 7919])
    taking.finish()
    taking.close()
    assert digest(folder) == digest(tree)
    assert (folder / "link").readlink() == Path("../../etc/passwd")
    assert (folder / "z-again").stat().st_ino == (folder / "a" / "big").stat().st_ino
    assert (folder / "a.b" / "script").stat().st_mode & 0o7777 == 0o4755
    assert not (folder / records.PART).exists()
    note = receiver.read_note(file)
    assert note is not None and note.whole and note.bytes == 700_000 + 10 + 3 + 10


@pytest.mark.parametrize("seed", range(12))
def test_it_goes_on_wherever_it_was_cut(tree: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """R38: the taker dies again and again, at any byte; what came after its last note comes again."""
    monkeypatch.setattr(receiver, "NOTE_BYTES", 50_000)
    monkeypatch.setattr(receiver, "NOTE_ENTRIES", 2)
    chance = random.Random(seed)
    folder, file = fresh(tmp_path)
    receiver.write_note(file, receiver.Note("m1"))
    for attempt in range(200):
        note = receiver.read_note(file)
        assert note is not None
        data = sent(tree, path=bytes.fromhex(note.path), offset=note.offset if note.begun else -1)
        taking = receiver.Receiver(folder, file, note)
        if attempt < 8:
            taking.feed(data[: chance.randrange(1, len(data) + 1)])
            taking.close()  # no last note: as a kill leaves it
            continue
        taking.feed(data)
        taking.finish()
        taking.close()
        break
    assert digest(folder) == digest(tree)


def test_a_difference_that_a_program_could_see_is_another_digest(tree: Path) -> None:
    before = digest(tree)
    (tree / "a.b" / "script").chmod(0o755)
    mode = digest(tree)
    (tree / "link").unlink()
    (tree / "link").symlink_to("elsewhere")
    link = digest(tree)
    (tree / "a" / "deep" / "er" / "empty").unlink()
    assert len({before, mode, link, digest(tree)}) == 4


@pytest.mark.parametrize("path", [b"../out", b"a/../../out", b"/etc/out", b"a//b", b".", b"a\0b"])
def test_no_record_leads_out_of_the_folder(tmp_path: Path, path: bytes) -> None:
    """B07: a panel or node that was taken over can't write elsewhere."""
    folder, file = fresh(tmp_path)
    head = msgspec.msgpack.encode(records.Head(records.Entry(path, "folder", 0o755)))
    taking = receiver.Receiver(folder, file, receiver.Note("m1"))
    with pytest.raises(FileRefused):
        taking.feed(len(head).to_bytes(4, "big") + head)
    taking.close()


def test_a_link_on_the_way_is_not_followed(tmp_path: Path) -> None:
    folder, file = fresh(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    taking = receiver.Receiver(folder, file, receiver.Note("m1"))
    for entry in (records.Entry(b"door", "link", target=os.fsencode(outside)), records.Entry(b"door/in", "folder", 0o755)):
        head = msgspec.msgpack.encode(records.Head(entry))
        try:
            taking.feed(len(head).to_bytes(4, "big") + head)
        except OSError:
            break
    taking.close()
    assert list(outside.iterdir()) == []


def test_a_full_disk_is_said_before_it_is_full(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R38, R30: the target's disk."""
    monkeypatch.setattr(receiver, "FLOOR_BYTES", 2**62)
    folder, file = fresh(tmp_path)
    taking = receiver.Receiver(folder, file, receiver.Note("m1"))
    with pytest.raises(FileRefused) as refused:
        taking.feed(sent(tree))
    taking.close()
    assert refused.value.code == "disk_full"
