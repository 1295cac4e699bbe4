"""Archives from outside: refused whole before the first byte is written, or unpacked with nothing special in it."""

from __future__ import annotations

import io
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from agent.files import unpack
from tests.agent.files.conftest import Desk

MIB = 1024 * 1024


def tar(*members: tuple[str, Any], mode: str = "w") -> bytes:
    """(name, content or a TarInfo's fields)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            found = tarfile.TarInfo(name)
            if isinstance(content, dict):
                for field, value in content.items():
                    setattr(found, field, value)
                archive.addfile(found)
            else:
                found.size = len(content)
                archive.addfile(found, io.BytesIO(content))
    return out.getvalue()


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    """(name, content, mode)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            found = zipfile.ZipInfo(name)
            found.filename = found.orig_filename = name
            found.external_attr = mode << 16
            found.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(found, content)
    return out.getvalue()


def link(target: str) -> dict[str, Any]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hard(target: str) -> dict[str, Any]:
    return {"type": tarfile.LNKTYPE, "linkname": target}


NAMES = [
    "../evil", "../../outside/evil", "a/../../evil", "/etc/evil", "//etc/evil", "a/b/../../../evil", "..", "../", "..\\evil", "a\\..\\..\\evil",
    "C:\\evil", "C:/evil", "\\\\host\\evil", "a/./../../evil", "a\nb", "\x1b[2J", ".lormas/trash/evil", ".lormas/uploads/evil", "d/" * 80 + "x",
]  # fmt: skip
HOSTILE: dict[str, bytes] = {
    **{f"tar {name!r}"[:60]: tar(("fine", b"x"), (name, b"evil")) for name in NAMES},
    **{f"zip {name!r}"[:60]: zipped(("fine", b"x", 0o644), (name, b"evil", 0o644)) for name in NAMES if "\0" not in name},
    "link to an absolute path": tar(("fine", b"x"), ("l", link("/etc"))),
    "link that climbs": tar(("fine", b"x"), ("a/l", link("../../outside"))),
    "link, then a file through it": tar(("fine", b"x"), ("l", link("a")), ("l/evil", b"evil")),
    "link out, then a file through it": tar(("l", link("../outside")), ("l/evil", b"evil")),
    "a file, then a link in its folder's place": tar(("d/evil", b"evil"), ("d", link("../outside"))),
    "a file twice, once as a link": tar(("f", link("../outside/evil")), ("f", b"evil")),
    "hard link out": tar(("fine", b"x"), ("h", hard("/etc/passwd"))),
    "hard link inside": tar(("fine", b"x"), ("h", hard("fine"))),
    "character device": tar(("fine", b"x"), ("c", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})),
    "block device": tar(("fine", b"x"), ("b", {"type": tarfile.BLKTYPE, "devmajor": 8})),
    "pipe": tar(("fine", b"x"), ("p", {"type": tarfile.FIFOTYPE})),
    "zip with a device": zipped(("fine", b"x", 0o644), ("c", b"", stat.S_IFCHR | 0o666)),
    "zip with a pipe": zipped(("fine", b"x", 0o644), ("p", b"", stat.S_IFIFO | 0o666)),
    "zip with a link out": zipped(("fine", b"x", 0o644), ("l", b"../outside", stat.S_IFLNK | 0o777)),
    "zip with a link and a file below": zipped(("l", b"a", stat.S_IFLNK | 0o777), ("l/evil", b"evil", 0o644)),
    "no archive": b"just text",
    "cut tar": tar(("fine", b"x" * 5000))[:1500],
    "cut zip": zipped(("fine", b"x" * 5000, 0o644))[:60],
    "gzip of nothing": b"\x1f\x8b" + b"\0" * 30,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(desk: Desk, name: str) -> None:
    """B07 B09, CVE-2026-44885, CVE-2024-6717, CVE-2024-7625, CVE-2026-45661"""
    (desk.folder / "archive.tar").write_bytes(HOSTILE[name])
    code = desk.refused("decompress", path="archive.tar", target="" if ".lormas" in name else "out")
    assert code in {"unsafe_archive", "unsupported_archive", "archive_too_large", "denied", "bad_path"}, (name, code)
    assert [path.name for path in desk.folder.iterdir()] == ["archive.tar"]


def test_there_are_at_least_forty_of_them() -> None:
    assert len(HOSTILE) >= 40


def test_a_sound_archive_is_unpacked_with_its_links_and_without_its_special_bits(desk: Desk) -> None:
    """B09, M11"""
    body = tar(
        ("d", {"type": tarfile.DIRTYPE, "mode": 0o2777}),
        ("d/run", {"mode": 0o6755, "size": 0, "uid": 12345}),
        ("d/l", link("run")),
        ("./e//f", b"content"),
        mode="w:gz",
    )
    (desk.folder / "a.tgz").write_bytes(body)
    assert desk.ask("decompress", path="a.tgz", target="out")["files"] == 2
    out = desk.folder / "out"
    assert (out / "d" / "run").stat().st_mode & 0o7777 == 0o755
    assert (out / "d").stat().st_mode & 0o7000 == 0
    assert (out / "d" / "l").is_symlink() and (out / "e" / "f").read_bytes() == b"content"
    assert desk.refused("decompress", path="a.tgz", target="out") == "exists"
    (out / "e" / "f").write_text("mine")
    desk.ask("decompress", path="a.tgz", target="out", overwrite=True)
    assert (out / "e" / "f").read_bytes() == b"content"


def test_it_never_unpacks_through_a_link_that_was_there_before(desk: Desk) -> None:
    """B07"""
    (desk.folder / "out").mkdir()
    (desk.folder / "out" / "d").symlink_to(desk.outside)
    (desk.folder / "a.tar").write_bytes(tar(("d/evil", b"evil")))
    for overwrite in (False, True):
        assert desk.refused("decompress", path="a.tar", target="out", overwrite=overwrite)
    (desk.folder / "out" / "secret").symlink_to(desk.outside / "secret")
    (desk.folder / "b.tar").write_bytes(tar(("secret", b"evil")))
    assert desk.refused("decompress", path="b.tar", target="out") == "exists"
    desk.ask("decompress", path="b.tar", target="out", overwrite=True)
    assert not (desk.folder / "out" / "secret").is_symlink(), "the link was replaced, not followed"


def _zeros(size: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive, archive.open("zeros", "w", force_zip64=True) as target:
        for _ in range(size // MIB):
            target.write(b"\0" * MIB)
    return out.getvalue()


def _many(count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:x}", b"")
    return out.getvalue()


def _huge_header() -> bytes:
    """A PAX head that says it is gigabytes long."""
    found = tarfile.TarInfo("./PaxHeaders/x")
    found.type = tarfile.XHDTYPE
    found.size = 7 * 1024**3
    return found.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 1024


BOMBS: dict[str, tuple[Callable[[], bytes], int]] = {
    "300 MB of zeros in 300 kB": (lambda: _zeros(300 * MIB), 0),
    "more than fits": (lambda: _zeros(8 * MIB), 4 * MIB),
    "a head of gigabytes": (_huge_header, 0),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_bursts(desk: Desk, name: str) -> None:
    """B08, CVE-2026-55078: nothing is written, and memory does not grow by 32 MB."""
    make, quota = BOMBS[name]
    (desk.folder / "bomb.zip").write_bytes(make())
    desk.scope = {"quota_bytes": quota}
    tracemalloc.start()  # not the peak of the process: that may have been higher before, and then tells nothing
    try:
        assert desk.refused("decompress", path="bomb.zip", target="out") in ("archive_too_large", "unsupported_archive")
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024**2
    finally:
        tracemalloc.stop()
    assert not (desk.folder / "out").exists()


def test_too_many_entries_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """B08"""
    monkeypatch.setattr(unpack, "MOST_ENTRIES", 500)
    for name, body in (("a.zip", _many(501)), ("a.tar", tar(*((f"{number:x}", b"") for number in range(501))))):
        (desk.folder / name).write_bytes(body)
        assert desk.refused("decompress", path=name, target="out") == "archive_too_large"
    assert not (desk.folder / "out").exists()


def test_archives_inside_are_left_packed(desk: Desk) -> None:
    """B08"""
    inner = zipped(("x", b"x", 0o644))
    (desk.folder / "outer.zip").write_bytes(zipped(("inner.zip", inner, 0o644)))
    assert desk.ask("decompress", path="outer.zip", target="out")["files"] == 1
    assert (desk.folder / "out" / "inner.zip").read_bytes() == inner


def test_what_was_packed_comes_back_as_it_was(desk: Desk) -> None:
    (desk.folder / "d" / "e").mkdir(parents=True)
    (desk.folder / "d" / "e" / "run").write_bytes(b"#!/bin/sh\n" * 20_000)
    (desk.folder / "d" / "e" / "run").chmod(0o750)
    (desk.folder / "d" / "l").symlink_to("e/run")
    for kind in ("tar.gz", "zip"):
        path = desk.ask("compress", paths=["d"], format=kind)["path"]
        desk.ask("decompress", path=path, target=f"out-{kind}")
        back = desk.folder / f"out-{kind}" / "d"
        assert (back / "e" / "run").read_bytes() == b"#!/bin/sh\n" * 20_000
        assert (back / "e" / "run").stat().st_mode & 0o777 == 0o750
        assert (back / "l").is_symlink() and (back / "l").read_bytes()[:2] == b"#!"
