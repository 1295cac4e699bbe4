"""Every question about files: nothing leads out, nothing is lost half-way, nothing costs more than allowed.

After each test the canaries are whole (see the fixture).
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import subprocess
import sys
import tarfile
import threading
from io import BytesIO
from typing import Any

import msgspec
import pytest

from agent.files import quota, trash
from agent.protocol.bulk import FRAME_BYTES
from agent.runtimes.base import RuntimeFailure
from tests.agent.files.conftest import Desk, Sent

REFUSALS = {"bad_path", "not_found", "outside", "not_a_file", "not_a_folder", "denied", "exists", "into_itself", "unsupported_archive", "failed"}
CLIMBS = ("..", "../", "..\\", "./..", "a/../..", "//..", "..;", ".. ", "%2e%2e", "..%2f", "%252e%252e", "..%00", "..%c0%af", "．．", "\u2024\u2024")
TARGETS = ("outside/secret", "app10/secret", "etc/passwd", "x")
PATHS = [
    *(f"{prefix}{climb}/{target}" for prefix, climb, target in itertools.product(("", "/", "a/", "/a/b/"), CLIMBS, TARGETS)),
    *(f"{climb}\0{target}" for climb, target in itertools.product(("", "..", "a"), TARGETS)),
    *("../" * depth + "etc/passwd" for depth in range(1, 40)),
    "\0", "a\0", "n" * 256, "d/" * 3000, "/" * 5000, "\udcff", "a\nb", "\x1b[31m", "...", "....//....//etc/passwd", "C:\\windows", "\\\\host\\share", "file:///etc/passwd",
]  # fmt: skip
ONE: dict[str, Any] = {"list": {}, "stat": {}, "create": {}, "search": {"query": "secret"}, "upload_begin": {"size": 1}, "decompress": {}}
MANY: dict[str, Any] = {"chmod": {"mode": 0o777, "recursive": True}, "delete": {"forever": True}, "compress": {}}


def test_hundreds_of_hostile_paths_are_names_or_are_refused(desk: Desk) -> None:
    """B01 B02"""
    (desk.folder / "a" / "b").mkdir(parents=True)
    assert len(PATHS) >= 300

    async def all_of_them() -> None:
        for path in PATHS:
            asked = [(kind, {"path": path, **more}) for kind, more in ONE.items()]
            asked += [(kind, {"paths": [path], **more}) for kind, more in MANY.items()]
            asked += [(kind, {"pairs": [{"source": path, "target": "new"}]}) for kind in ("move", "copy")]
            asked += [("move", {"pairs": [{"source": "a", "target": path}]})]
            for kind, fields in asked:
                try:
                    await desk.aask(kind, **fields)
                except RuntimeFailure as failure:
                    assert failure.code in REFUSALS, (kind, path, failure.code, failure.detail)
            for kind, fields in (("read", {"paths": [path]}), ("write", {"path": path, "size": 1})):
                try:
                    _, pipe = await desk.acarry(kind, Sent(b"x"), **fields)
                    assert b"canary" not in pipe.got and b"root:" not in pipe.got
                except RuntimeFailure as failure:
                    assert failure.code in REFUSALS, (kind, path, failure.code, failure.detail)

    asyncio.run(all_of_them())


def test_links_out_are_never_followed_and_are_things_of_their_own(desk: Desk) -> None:
    """B03 B05 B06, CVE-2023-25152, CVE-2023-25168, GHSA-rhq6-9rgh-v45c"""
    out, secret = desk.folder / "out", desk.folder / "secret"

    def again() -> None:
        for link, target in ((out, desk.outside), (secret, desk.outside / "secret")):
            link.unlink(missing_ok=True)
            link.symlink_to(target)

    again()
    for kind, fields in (
        ("list", {"path": "out"}), ("create", {"path": "out/new"}), ("create", {"path": "secret/new", "type": "folder"}),
        ("search", {"path": "out", "query": "secret"}),
        ("chmod", {"paths": ["secret"], "mode": 0o777}), ("chmod", {"paths": ["out/secret"], "mode": 0o777}), ("delete", {"paths": ["out/secret"]}),
        ("stat", {"path": "out/secret"}),
        ("move", {"pairs": [{"source": "out/secret", "target": "mine"}]}), ("copy", {"pairs": [{"source": "out/secret", "target": "mine"}]}),
        ("compress", {"paths": ["out/secret"]}), ("decompress", {"path": "secret"}), ("upload_begin", {"path": "out/x", "size": 1}),
    ):  # fmt: skip
        assert desk.refused(kind, **fields) in {"outside", "not_found", "not_a_folder", "bad_path", "is_link", "not_a_file"}, kind
    for kind, fields in (
        ("read", {"paths": ["secret"]}),
        ("read", {"paths": ["out/secret"]}),
        ("write", {"path": "secret"}),
        ("write", {"path": "out/x"}),
    ):
        assert desk.refused(kind, Sent(b"mine"), **fields), (kind, fields)
    (desk.folder / "sub").mkdir()
    (desk.folder / "sub" / "out").symlink_to(desk.outside)
    desk.ask("chmod", paths=["sub"], mode=0o711, recursive=True)
    assert (desk.outside / "secret").stat().st_mode & 0o777 != 0o711
    desk.ask("copy", pairs=[{"source": "sub", "target": "again"}])
    assert (desk.folder / "again" / "out").is_symlink()
    desk.ask("move", pairs=[{"source": "out", "target": "moved"}])
    assert (desk.folder / "moved").readlink() == desk.outside
    packed = desk.ask("compress", paths=["sub", "moved"])
    with tarfile.open(desk.folder / packed["path"]) as archive:
        assert {member.name: member.type for member in archive}["sub/out"] == tarfile.SYMTYPE
        assert b"canary" not in (desk.folder / packed["path"]).read_bytes()
    again()
    desk.ask("delete", paths=["out", "secret"], forever=True)
    desk.ask("delete", paths=["sub", "again", "moved"])
    for path in ("", "/", "."):
        assert desk.refused("delete", paths=[path]) == "bad_path"
    desk.ask("empty_trash")
    assert desk.folder.is_dir()


def test_links_that_stay_inside_lead_where_they_say(desk: Desk) -> None:
    """An editor writes through them, and they stay links."""
    (desk.folder / "real").mkdir()
    (desk.folder / "real" / "file").write_text("old")
    (desk.folder / "link").symlink_to("real/file")
    _, pipe = desk.carry("read", paths=["link"])
    assert bytes(pipe.got) == b"old"
    desk.carry("write", Sent(b"new"), path="link")
    assert (desk.folder / "link").is_symlink() and (desk.folder / "real" / "file").read_text() == "new"
    entry = next(one for one in desk.ask("list")["entries"] if one["name"] == "link")
    assert (entry["type"], entry["target"], entry["target_type"]) == ("link", "real/file", "file")


def test_nobody_waits_for_a_pipe_and_special_bits_are_never_given(desk: Desk) -> None:
    """B09"""
    os.mkfifo(desk.folder / "pipe")
    (desk.folder / "file").write_text("x")
    assert desk.refused("read", paths=["pipe"]) == "not_a_file"
    assert desk.refused("write", Sent(b"x"), path="pipe") == "not_a_file"
    assert desk.refused("decompress", path="pipe") == "not_a_file"
    _, pipe = desk.carry("read", paths=["pipe", "file"])
    with tarfile.open(fileobj=BytesIO(pipe.got)) as archive:
        assert archive.getnames() == ["file"]
    assert desk.ask("search", query="x", content=True)["found"][0]["path"] == "file"
    desk.ask("chmod", paths=["file"], mode=0o6777)
    assert (desk.folder / "file").stat().st_mode & 0o7777 == 0o777
    desk.carry("write", Sent(b"x"), path="made", mode=0o4755)
    assert (desk.folder / "made").stat().st_mode & 0o7777 == 0o755


def test_a_quota_is_counted_while_bytes_come_and_nothing_of_too_much_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """B10, CVE-2026-61617"""
    monkeypatch.setattr(quota, "FLOOR_BYTES", 0)
    desk.scope = {"quota_bytes": 400_000}
    (desk.folder / "old").write_bytes(b"o" * 1000)
    flood = Sent(*[b"x" * FRAME_BYTES] * 20)
    assert desk.refused("write", flood, path="big", size=10) == "quota_exceeded"
    assert desk.refused("write", Sent(*[b"x" * FRAME_BYTES] * 20), path="big") == "quota_exceeded"
    assert desk.refused("upload_begin", path="big", size=500_000) == "quota_exceeded"
    begun = desk.ask("upload_begin", path="big", size=300_000)
    assert desk.refused("upload", Sent(b"x" * 400_000), id=begun["id"], offset=0, length=10) == "too_large"
    assert desk.refused("write", Sent(b"y" * 200_000), path="other") == ""
    assert desk.refused("upload", Sent(b"x" * 300_000), id=begun["id"], offset=0, length=300_000) == "quota_exceeded"
    assert desk.refused("copy", pairs=[{"source": "other", "target": "more"}]) == "quota_exceeded"
    assert desk.refused("create", path="small") == ""
    assert sorted(path.name for path in desk.folder.iterdir()) == [".lormas", "old", "other", "small"], "no part of a refused one is left"
    desk.ask("upload_cancel", id=begun["id"])
    assert list((desk.folder / ".lormas" / "uploads").iterdir()) == []


def test_writing_that_breaks_off_leaves_the_old_content(desk: Desk) -> None:
    """B15"""
    (desk.folder / "file").write_text("old")
    assert desk.refused("write", Sent(b"half", breaks=True), path="file") == "cancelled"
    assert (desk.folder / "file").read_text() == "old" and os.listdir(desk.folder) == ["file"]


DIES = """
import asyncio, sys
from pathlib import Path
from agent.protocol.bulk import FRAME_BYTES
from tests.agent.files.conftest import Desk, Sent

class Endless(Sent):
    async def content(self):
        print("ready", flush=True)
        while True:
            yield b"n" * FRAME_BYTES

desk = Desk(Path(sys.argv[1]), Path(sys.argv[1]))
desk.carry("write", Endless(), path="file")
"""


def test_an_agent_that_dies_while_a_file_comes_leaves_the_old_one_and_no_half_of_a_new_one(desk: Desk) -> None:
    """B15: killed at any moment."""
    (desk.folder / "file").write_text("old")
    for number in range(5):
        writer = subprocess.Popen([sys.executable, "-c", DIES, str(desk.folder)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        threading.Event().wait(0.01 * number)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        assert (desk.folder / "file").read_text() == "old"
        assert os.listdir(desk.folder) == ["file"]


@pytest.mark.parametrize("is_there", [True, False])
def test_where_no_file_can_be_nameless_it_has_a_name_for_the_time_being(desk: Desk, monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    """B15"""
    opens = os.open

    def older(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no")
        return opens(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", older)
    if is_there:
        (desk.folder / "file").write_text("old")
    assert desk.refused("write", Sent(b"half", breaks=True), path="file") == "cancelled"
    assert os.listdir(desk.folder) == ["file"] * is_there
    desk.carry("write", Sent(b"new"), path="file")
    assert (desk.folder / "file").read_text() == "new" and os.listdir(desk.folder) == ["file"]


def test_of_two_who_edit_the_second_is_told(desk: Desk) -> None:
    """B14"""
    desk.carry("write", Sent(b"one"), path="file")
    etag = desk.ask("stat", path="file")["entry"]["etag"]

    async def both() -> list[str]:
        async def save(text: bytes) -> str:
            try:
                await desk.acarry("write", Sent(text), path="file", if_match=etag)
            except RuntimeFailure as failure:
                return failure.code
            return ""

        return await asyncio.gather(save(b"mine"), save(b"theirs"))

    assert sorted(asyncio.run(both())) == ["", "changed"]
    assert desk.refused("write", Sent(b"x"), path="file", if_none_match=True) == "changed"
    assert desk.refused("write", Sent(b"x"), path="gone", if_match=etag) == "changed"


def test_a_huge_file_is_not_opened_and_a_huge_folder_comes_in_pages(desk: Desk) -> None:
    """B13, CVE-2026-52857"""
    with (desk.folder / "sparse").open("wb") as file:
        file.truncate(1024**3)
    assert desk.refused("read", paths=["sparse"], max_bytes=2 * 1024**2) == "too_large"
    _, pipe = desk.carry("read", paths=["sparse"], offset=1024**3 - 10, length=100)
    assert (bytes(pipe.got), pipe.told["size"]) == (b"\0" * 10, 1024**3)
    many = desk.folder / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"f{number:05}").touch()
    page = desk.ask("list", path="many", offset=2990, limit=5000)
    assert (len(page["entries"]), page["total"]) == (10, 3000)
    assert len(desk.ask("list", path="many", limit=5000)["entries"]) == 1000


@pytest.mark.parametrize(
    "name",
    ['q"uote', "a'b", "<img src=x onerror=alert(1)>", "-rf", "--help", "$(id)", "`id`", "a;b", "a|b", " lead", "n" * 255, "ü" * 127, "\U0001f40b"],
)
def test_odd_names_are_only_names(desk: Desk, name: str) -> None:
    """B12"""
    desk.carry("write", Sent(b"x"), path=name)
    assert desk.ask("list")["entries"][0]["name"] == name
    assert desk.ask("copy", pairs=[{"source": name, "target": "copy"}])["copied"] == ["copy"]
    archive = desk.ask("compress", paths=[name], format="zip", target="a.zip")["path"]
    desk.ask("decompress", path=archive, target="out")
    assert (desk.folder / "out" / name).read_text() == "x"
    desk.ask("delete", paths=[name], forever=True)


def test_names_that_are_no_text_are_seen_and_harm_nobody(desk: Desk) -> None:
    """B12"""
    (desk.folder / os.fsdecode(b"bad\xff\xfename")).write_text("x")
    assert "bad" in desk.ask("list")["entries"][0]["name"]
    msgspec.json.encode(desk.ask("list"))
    assert desk.refused("compress", paths=["/"]) in ("", "bad_path")


def test_what_the_egg_denies_is_as_if_it_were_not_there(desk: Desk) -> None:
    desk.scope = {"denylist": ["*.key", "/locked"]}
    (desk.folder / "a.key").write_text("k")
    (desk.folder / "locked").mkdir()
    (desk.folder / "locked" / "in").write_text("k")
    (desk.folder / "open").write_text("o")
    (desk.folder / "via").symlink_to("a.key")
    assert [one["name"] for one in desk.ask("list")["entries"]] == ["open", "via"]
    for kind, fields in (
        ("stat", {"path": "a.key"}), ("create", {"path": "b.key"}), ("move", {"pairs": [{"source": "a.key", "target": "b"}]}),
        ("move", {"pairs": [{"source": "open", "target": "b.key"}]}),
        ("copy", {"pairs": [{"source": "a.key", "target": "b"}]}), ("chmod", {"paths": ["a.key"], "mode": 0o777}),
        ("delete", {"paths": ["a.key"]}), ("compress", {"paths": ["a.key"]}),
        ("list", {"path": "locked"}), ("upload_begin", {"path": "b.key", "size": 1}),
    ):  # fmt: skip
        assert desk.refused(kind, **fields) == "denied", kind
    for kind, fields in (("read", {"paths": ["a.key"]}), ("read", {"paths": ["via"]}), ("write", {"path": "a.key"}), ("write", {"path": "via"})):
        assert desk.refused(kind, Sent(b"x"), **fields) == "denied", (kind, fields)
    _, pipe = desk.carry("read", paths=[""], archive="tar.gz")
    with tarfile.open(fileobj=BytesIO(pipe.got)) as archive:
        assert sorted(archive.getnames()) == ["open", "via"]
    assert pipe.largest <= FRAME_BYTES
    assert desk.ask("search", query="k", content=True)["found"] == []


def test_the_trash_gives_back_and_believes_no_note_of_the_container(desk: Desk) -> None:
    (desk.folder / "d").mkdir()
    (desk.folder / "d" / "file").write_text("one")
    put = desk.ask("delete", paths=["d/file"], by="alice")["deleted"][0]["trash_id"]
    (desk.folder / "d" / "file").write_text("two")
    assert desk.ask("restore", ids=[put])["restored"][0]["path"] == "d/file (2)"
    assert (desk.folder / "d" / "file (2)").read_text() == "one"
    for path in (".lormas", ".lormas/trash", "d/../.lormas"):
        assert desk.refused("list", path=path) in ("not_found", "bad_path")
    (desk.folder / "back").symlink_to(".lormas/trash")
    assert desk.refused("list", path="back") == "not_found"
    put = desk.ask("delete", paths=["d"])["deleted"][0]["trash_id"]
    note = desk.folder / ".lormas" / "trash" / f"{put}.json"
    for forged in ("../../outside/x", "/../x", ".lormas/trash/x", "a\0b"):
        note.write_bytes(msgspec.json.encode(trash.Item(path=forged, deleted_at_unix=0)))
        assert desk.refused("restore", ids=[put]) in ("not_found", "denied", "bad_path"), forged
    note.unlink()
    note.symlink_to(desk.outside / "secret")
    assert desk.refused("restore", ids=[put]) == "not_found"
    for forged_id in ("../../outside/secret", "x", "0" * 24):
        assert desk.refused("restore", ids=[forged_id]) == "not_found"
    desk.ask("empty_trash")
    assert list((desk.folder / ".lormas" / "trash").iterdir()) == []
    (desk.folder / ".lormas" / "trash").rmdir()
    (desk.folder / ".lormas" / "trash").symlink_to(desk.outside)
    (desk.folder / "e").touch()
    assert desk.refused("delete", paths=["e"]) == "failed"
    assert desk.refused("trash") == "failed"


def test_what_was_thrown_away_goes_by_itself_after_a_while(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("old", "new"):
        (desk.folder / name).touch()
        monkeypatch.setattr(trash.time, "time_ns", lambda name=name: 1_000_000_000 * (1_000_000 if name == "old" else 2_000_000))
        desk.ask("delete", paths=[name])
    monkeypatch.setattr(trash.time, "time", lambda: 2_000_050.0)
    assert [one["path"] for one in desk.ask("trash", kept_seconds=100)["items"]] == ["new"]


def test_a_piece_that_was_cut_off_is_sent_again_from_where_it_is(desk: Desk) -> None:
    begun = desk.ask("upload_begin", path="d/file", size=10)
    assert desk.refused("upload", Sent(b"abc", breaks=True), id=begun["id"], offset=0, length=10) == "cancelled"
    at = desk.ask("upload_state", id=begun["id"])["offset"]
    assert 0 <= at <= 3
    assert desk.refused("upload", Sent(b"x"), id=begun["id"], offset=at + 1, length=1) == "offset_mismatch"
    done, _ = desk.carry("upload", Sent(b"abcdefghij"[at:]), id=begun["id"], offset=at, length=10 - at)
    assert done["entry"]["size"] == 10 and (desk.folder / "d" / "file").read_bytes() == b"abcdefghij"
    assert desk.refused("upload_state", id=begun["id"]) == "not_found"
    assert desk.refused("upload_begin", path="d/file", size=1) == "exists"
    (desk.folder / ".lormas" / "uploads" / ("0" * 24)).symlink_to(desk.outside / "secret")
    assert desk.refused("upload", Sent(b"x"), id="0" * 24, offset=0, length=1) == "not_found"


def test_a_folder_can_not_be_moved_or_copied_into_itself(desk: Desk) -> None:
    (desk.folder / "a" / "b").mkdir(parents=True)
    for kind, (source, target) in itertools.product(("move", "copy"), (("a", "a/b/c"), ("a", "a/x"))):
        assert desk.refused(kind, pairs=[{"source": source, "target": target}]) == "into_itself"
    (desk.folder / "deep").symlink_to("a/b")
    assert desk.refused("move", pairs=[{"source": "a", "target": "deep/x"}]) == "into_itself"
