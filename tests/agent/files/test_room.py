"""The disk, or the quota, fills while something is written: by others, on a disk that is really small (SECURITY B10)."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.files import quota
from agent.files.quota import Purse
from agent.protocol.bulk import FRAME_BYTES
from agent.runtimes.base import RuntimeFailure
from tests.agent.files.conftest import Desk, Sent

MIB = 1024 * 1024
DISK_BYTES = 8 * MIB


class Meanwhile(Sent):
    """Content in the midst of which something else happens."""

    def __init__(self, content: bytes, act: Callable[[], None]) -> None:
        super().__init__(*[content[at : at + FRAME_BYTES] for at in range(0, len(content), FRAME_BYTES)])
        self.act = act

    async def content(self) -> AsyncIterator[bytes]:
        for number, piece in enumerate(self.pieces):
            if number == len(self.pieces) // 2:
                self.act()
            yield piece


class Disk:
    """Eight megabytes; `rival` is another container on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "app"
        self.folder.mkdir()
        self.rival = folder / "rival"

    def fill(self) -> None:
        with self.rival.open("ab", buffering=0) as file:
            try:
                while file.write(b"r" * 4096) == 4096:
                    pass
            except OSError:
                return

    def files(self) -> dict[str, int]:
        return {str(path.relative_to(self.folder)): path.stat().st_size for path in sorted(self.folder.rglob("*")) if path.is_file()}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small(disk: Disk, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(disk.folder, tmp_path / "outside")
    yield made
    made.desk.close()


FLOORS = pytest.mark.parametrize("floor", [0, MIB], ids=["to its last byte", "to the floor"])


@FLOORS
def test_a_disk_that_fills_while_a_file_comes_keeps_the_old_one_and_nothing_of_the_new(
    small: Desk, disk: Disk, monkeypatch: pytest.MonkeyPatch, floor: int
) -> None:
    """B10: there was room for all of it when it began."""
    monkeypatch.setattr(quota, "FLOOR_BYTES", floor)
    (disk.folder / "world").write_bytes(b"old")
    pipe = Meanwhile(b"n" * (4 * MIB), disk.fill)
    with pytest.raises(RuntimeFailure) as refused:
        small.carry("write", pipe, path="world", size=4 * MIB)
    assert refused.value.code == "disk_full" and "disk" in refused.value.detail
    assert disk.files() == {"world": 3} and (disk.folder / "world").read_bytes() == b"old"
    disk.rival.unlink()
    assert small.refused("write", Sent(*[b"n" * FRAME_BYTES] * 8), path="world") == ""
    assert disk.files() == {"world": 8 * FRAME_BYTES}


@FLOORS
def test_a_piece_without_room_is_taken_back_and_can_be_sent_again(small: Desk, disk: Disk, monkeypatch: pytest.MonkeyPatch, floor: int) -> None:
    """B10: what came before it stays, since somebody may make room and go on; it ends with the upload."""
    monkeypatch.setattr(quota, "FLOOR_BYTES", floor)
    content = bytes(range(256)) * (4 * MIB // 256)
    begun = small.ask("upload_begin", path="big", size=len(content))
    small.carry("upload", Sent(content[:MIB]), id=begun["id"], offset=0, length=MIB)
    rest: dict[str, Any] = {"id": begun["id"], "offset": MIB, "length": 3 * MIB}
    assert small.refused("upload", Meanwhile(content[MIB:], disk.fill), **rest) == "disk_full"
    assert small.ask("upload_state", id=begun["id"])["offset"] == MIB
    disk.rival.unlink()
    done, _ = small.carry("upload", Sent(content[MIB:]), **rest)
    assert done["entry"]["size"] == len(content) and (disk.folder / "big").read_bytes() == content
    assert disk.files() == {"big": len(content)}


def test_what_the_container_writes_meanwhile_counts_against_its_quota(small: Desk, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """B10, CVE-2026-61617: the quota is not looked at once, at the beginning."""
    monkeypatch.setattr(quota, "FLOOR_BYTES", 0)
    monkeypatch.setattr(quota, "FRESH_SECONDS", 0.0)
    small.scope = {"quota_bytes": 4 * MIB}
    own = disk.folder / "log"
    pipe = Meanwhile(b"n" * (3 * MIB), lambda: bool(own.write_bytes(b"l" * (2 * MIB))))  # type: ignore[arg-type, return-value]
    assert small.refused("write", pipe, path="big", size=3 * MIB) == "quota_exceeded"
    assert disk.files() == {"log": 2 * MIB}
    own.unlink()
    assert small.refused("write", Sent(*[b"n" * FRAME_BYTES] * 8), path="big") == ""


def test_a_huge_folder_is_not_counted_without_end(small: Desk, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting is paced by what it takes, however long a transfer lasts; the disk itself is asked each time."""
    now, counts, looks = [1000.0], 0, 0

    def usage(_tree: Any) -> tuple[int, int]:
        nonlocal counts
        counts += 1
        now[0] += 3  # seconds that counting took
        return 1, 1

    monkeypatch.setattr(quota.time, "monotonic", lambda: now[0])
    purse = Purse()
    tree: Any = type("Tree", (), {"usage": usage, "free_bytes": lambda _self: 10**9 - looks})()
    for looks in range(200):
        purse.look(tree, quota=10**9)
        now[0] += 1
    assert (counts, purse.free) == (4, 10**9 - 199), "once a minute or so"


@pytest.mark.parametrize("kind", ["copy", "compress", "decompress"])
def test_what_the_node_makes_itself_leaves_nothing_when_the_room_ends(small: Desk, disk: Disk, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """B10: half a copy, half an archive, half of what was in one; and what an archive would have replaced is still the old one."""
    monkeypatch.setattr(quota, "FLOOR_BYTES", 0)
    (disk.folder / "data").mkdir()
    for number in range(3):
        (disk.folder / "data" / str(number)).write_bytes(bytes(range(251)) * 2000)
    with tarfile.open(disk.folder / "a.tar", "w") as tar:
        for name in ("fresh/deep/one", "old", "fresh/two"):
            member = tarfile.TarInfo(name)
            member.size = MIB // 2
            tar.addfile(member, io.BytesIO(b"a" * member.size))
    (disk.folder / "old").write_bytes(b"old")
    before = disk.files()
    spend, calls = Purse.spend, 0

    def rival(purse: Purse, count: int) -> None:
        nonlocal calls
        calls += 1
        spend(purse, count)
        if calls == 2:
            disk.fill()

    monkeypatch.setattr(Purse, "spend", rival)
    asked: dict[str, dict[str, Any]] = {
        "copy": {"pairs": [{"source": "data", "target": "more"}]},
        "compress": {"paths": ["data"], "format": "tar.gz", "target": "all.tar.gz"},
        "decompress": {"path": "a.tar", "target": "out/of", "overwrite": True},
    }
    if kind == "compress":  # what can't be made smaller
        import random

        dice = random.Random(7)
        for number in range(3):
            (disk.folder / "data" / str(number)).write_bytes(dice.randbytes(MIB))
        before = disk.files()
    assert small.refused(kind, **asked[kind]) == "disk_full"
    assert disk.files() == before
    assert sorted(path.name for path in disk.folder.iterdir() if path.name != ".lormas") == ["a.tar", "data", "old"], "no folder is left either"
    disk.rival.unlink()
    monkeypatch.setattr(Purse, "spend", spend)
    assert small.refused(kind, **asked[kind]) == ""


def test_unpacking_over_old_files_replaces_each_whole_or_not_at_all(small: Desk, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """B10"""
    monkeypatch.setattr(quota, "FLOOR_BYTES", 0)
    with tarfile.open(disk.folder / "a.tar", "w") as tar:
        for name in ("one", "two"):
            member = tarfile.TarInfo(name)
            member.size = MIB
            tar.addfile(member, io.BytesIO(b"a" * member.size))
    for name in ("one", "two"):
        (disk.folder / name).write_bytes(b"old")
    spend = Purse.spend

    def rival(purse: Purse, count: int) -> None:
        spend(purse, count)
        if (disk.folder / "one").stat().st_size == MIB:
            disk.fill()

    monkeypatch.setattr(Purse, "spend", rival)
    assert small.refused("decompress", path="a.tar", overwrite=True) == "disk_full"
    assert disk.files() == {"a.tar": (disk.folder / "a.tar").stat().st_size, "one": MIB, "two": 3}


def test_a_full_disk_says_so_where_even_a_note_finds_no_room(small: Desk, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """B10: and what is deleted for good makes room."""
    monkeypatch.setattr(quota, "FLOOR_BYTES", 0)
    (disk.folder / "big").write_bytes(b"b" * MIB)
    small.ask("upload_begin", path="x", size=1)  # the hidden folder is there
    begun = disk.files()
    disk.fill()
    assert small.refused("upload_begin", path="y", size=0) == "disk_full"
    with pytest.raises(RuntimeFailure) as refused:
        small.ask("delete", paths=["big"])
    assert refused.value.code == "disk_full" and "for good" in refused.value.detail
    assert disk.files() == begun
    assert small.refused("delete", paths=["big"], forever=True) == ""
    assert small.refused("upload_begin", path="y", size=MIB // 2) == ""
