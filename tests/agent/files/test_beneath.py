"""Files of a container from outside: nothing leads out, writing is all or nothing (SECURITY B01-B06, B09, B12, B15)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.files import Beneath, FileRefused, clean_relative, openat2

CANARY = b"canary"


@pytest.fixture(params=["openat2", "walk"])
def opener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to open: what one refuses the other must not let through."""
    monkeypatch.setattr(openat2, "_missing", request.param == "walk")
    return str(request.param)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(CANARY)
    return folder


@pytest.fixture
def root(tmp_path: Path, outside: Path, opener: str) -> Iterator[tuple[Path, Beneath]]:
    folder = tmp_path / "app1"
    folder.mkdir()
    (tmp_path / "app10").mkdir()
    (tmp_path / "app10" / "secret").write_bytes(CANARY)
    with Beneath(folder) as beneath:
        yield folder, beneath


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(FileRefused) as caught:
        work()
    return caught.value.code


HOSTILE = [
    "../outside/secret", "a/../../outside/secret", "..", "/..", "a/..", "..\\outside\\secret", "a\\..\\..\\x", "/../../etc/passwd", "x\0y", "\0",
    "....//..//secret/../..", "./../outside", "a/b/../../../outside/secret", "n" * 256, "d/" * 3000 + "x", "\udcff..\udcff/../x",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_paths_that_climb_or_are_no_names_are_refused_everywhere(root: tuple[Path, Beneath], path: str) -> None:
    """SECURITY B01."""
    _, beneath = root
    works: list[Callable[[], object]] = [
        lambda: beneath.read(path, max_bytes=10),
        lambda: beneath.write(path, b"x"),
        lambda: beneath.stat(path),
        lambda: beneath.names(path),
        lambda: beneath.remove(path),
        lambda: beneath.make_folders(path),
    ]
    for work in works:
        assert refused(work) == "bad_path"


def test_an_absolute_path_means_the_folder_itself_and_encoded_dots_are_names(root: tuple[Path, Beneath]) -> None:
    """SECURITY B01: what is decoded is decoded before it gets here; a sibling with the same beginning is out of reach (B02)."""
    folder, beneath = root
    beneath.write("/etc/passwd", b"mine")
    assert (folder / "etc" / "passwd").read_bytes() == b"mine"
    beneath.write("%2e%2e/%2e", b"a name")
    assert (folder / "%2e%2e" / "%2e").read_bytes() == b"a name"
    assert refused(lambda: beneath.read("0/secret", max_bytes=99)) == "not_found"


@pytest.mark.parametrize("target", ["absolute", "relative", "folder"])
def test_links_that_lead_out_are_never_followed(root: tuple[Path, Beneath], outside: Path, target: str) -> None:
    """SECURITY B03, B05, B06."""
    folder, beneath = root
    link = folder / "link"
    path = "link"
    if target == "folder":
        link.symlink_to(outside)
        path = "link/secret"
    else:
        link.symlink_to(outside / "secret" if target == "absolute" else Path("../outside/secret"))
    assert refused(lambda: beneath.read(path, max_bytes=99)) == "outside"
    assert refused(lambda: beneath.write(path, b"evil")) == "outside"
    assert refused(lambda: beneath.stat(path)) == "outside"
    if target == "folder":
        assert refused(lambda: beneath.write("link/new", b"evil")) == "outside"
        assert refused(lambda: beneath.make_folders("link/deep/er")) == "outside"
        assert refused(lambda: beneath.remove("link/secret")) == "outside"
    before = (outside / "secret").stat()
    beneath.own(os.getuid(), 12345 if os.geteuid() == 0 else os.getgid())
    after = (outside / "secret").stat()
    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)
    beneath.remove("link")
    assert not link.is_symlink()
    assert (outside / "secret").read_bytes() == CANARY
    assert sorted(entry.name for entry in outside.iterdir()) == ["secret"]


def test_a_link_that_stays_inside_is_followed_by_the_kernel_and_stays_a_link(root: tuple[Path, Beneath], opener: str) -> None:
    folder, beneath = root
    (folder / "real").write_bytes(b"old")
    (folder / "link").symlink_to("real")
    if opener == "walk":
        assert refused(lambda: beneath.read("link", max_bytes=9)) == "outside"  # without the kernel's help no link is followed
        return
    assert beneath.read("link", max_bytes=9).data == b"old"
    beneath.write("link", b"new")
    assert (folder / "link").is_symlink()
    assert (folder / "real").read_bytes() == b"new"
    (folder / "sub").mkdir()
    (folder / "alias").symlink_to("sub")
    beneath.write("alias/new", b"x")
    assert (folder / "sub" / "new").read_bytes() == b"x"


def test_a_dangling_link_creates_nothing(root: tuple[Path, Beneath], tmp_path: Path) -> None:
    folder, beneath = root
    (folder / "dangling").symlink_to(tmp_path / "born-outside")
    assert refused(lambda: beneath.write("dangling", b"x")) in ("outside", "not_found")
    (folder / "inside").symlink_to("nothing-there")
    assert refused(lambda: beneath.write("inside", b"x")) in ("outside", "not_found")
    assert not (tmp_path / "born-outside").exists()


def test_nothing_gets_out_while_somebody_swaps_a_folder_for_a_link(root: tuple[Path, Beneath], outside: Path) -> None:
    """SECURITY B04: a thread swaps as fast as it can; 2,000 reads and writes of ours never touch what is outside."""
    folder, beneath = root
    (folder / "dir").mkdir()
    (folder / "dir" / "secret").write_bytes(b"inside")
    (folder / "evil").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for before, after in (("dir", "aside"), ("evil", "dir"), ("dir", "evil"), ("aside", "dir")):
                with contextlib.suppress(OSError):  # our writer has made a new `dir` in the gap
                    os.rename(folder / before, folder / after)
            shutil.rmtree(folder / "aside", ignore_errors=True)

    rival = threading.Thread(target=swap)
    rival.start()
    outcomes = set()
    try:
        for count in range(1000):
            for work in (
                lambda: beneath.read("dir/secret", max_bytes=99).data,
                lambda: beneath.write("dir/secret", b"inside"),
                lambda: beneath.stat("dir"),
            ):
                try:
                    assert work() != CANARY
                    outcomes.add("ok")
                except FileRefused as failure:
                    outcomes.add(failure.code)
            if count % 100 == 0:
                beneath.own(os.getuid(), os.getgid())
    finally:
        over.set()
        rival.join()
    assert "ok" in outcomes
    assert (outside / "secret").read_bytes() == CANARY
    assert sorted(entry.name for entry in outside.iterdir()) == ["secret"]


def test_pipes_devices_and_folders_are_no_files_and_nobody_waits_for_them(root: tuple[Path, Beneath]) -> None:
    """SECURITY B09."""
    folder, beneath = root
    os.mkfifo(folder / "pipe")
    (folder / "sub").mkdir()
    assert refused(lambda: beneath.read("pipe", max_bytes=9)) == "not_a_file"
    assert refused(lambda: beneath.write("pipe", b"x")) == "not_a_file"
    assert refused(lambda: beneath.read("sub", max_bytes=9)) == "not_a_file"
    assert refused(lambda: beneath.write("sub", b"x")) == "not_a_file"
    assert refused(lambda: beneath.read("", max_bytes=9)) == "not_a_file"


def test_writing_keeps_owner_and_mode_but_never_setuid(root: tuple[Path, Beneath]) -> None:
    folder, beneath = root
    file = folder / "config.yml"
    file.write_bytes(b"old")
    file.chmod(0o4750)
    if os.geteuid() == 0:
        os.chown(file, 988, 988)
        file.chmod(0o4750)
    beneath.write("config.yml", b"new", mode=0o600)
    found = file.stat()
    assert (file.read_bytes(), found.st_mode & 0o7777) == (b"new", 0o750)
    if os.geteuid() == 0:
        assert (found.st_uid, found.st_gid) == (988, 988)
        beneath.write("made/by/us", b"x", mode=0o640, owner=(988, 988))
        assert {(folder / part).stat().st_uid for part in ("made", "made/by", "made/by/us")} == {988}
    assert [name for name in beneath.names() if name.startswith(".lormas-")] == []


def test_too_large_is_refused_without_reading_it_all(root: tuple[Path, Beneath]) -> None:
    """SECURITY B13: a sparse gigabyte."""
    folder, beneath = root
    with (folder / "huge").open("wb") as file:
        file.truncate(1 << 30)
    assert refused(lambda: beneath.read("huge", max_bytes=1000)) == "too_large"


def test_the_folder_itself_can_not_be_removed_and_what_is_gone_is_gone(root: tuple[Path, Beneath]) -> None:
    """SECURITY B06."""
    folder, beneath = root
    for path in ("", "/", ".", "//"):
        assert refused(lambda path=path: beneath.remove(path)) == "bad_path"  # type: ignore[misc]
    beneath.remove("nothing/there")
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    assert refused(lambda: beneath.remove("full")) == "failed"


NAMES = ["quote\"'s", "new\nline", "<b>", "-rf", "ü" * 127, "tab\there", "%s%n", "a b ", "con", ".hidden", "日本"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_only_names(root: tuple[Path, Beneath], name: str) -> None:
    """SECURITY B12."""
    _, beneath = root
    beneath.write(name, b"x")
    assert beneath.names() == [name]
    assert beneath.read(name, max_bytes=9).data == b"x"
    assert clean_relative("//" + name) == name


def test_a_death_while_writing_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    """SECURITY B15: the writer is killed at any moment, twenty times."""
    (tmp_path / "file").write_bytes(b"0" * 200_000)
    script = (
        "import sys\nfrom pathlib import Path\nfrom agent.files import Beneath\n"
        "with Beneath(Path(sys.argv[1])) as root:\n print('ready', flush=True)\n n = 0\n"
        " while True:\n  n = (n + 1) % 10\n  root.write('file', str(n).encode() * 200_000)\n"
    )
    for round_number in range(20):
        writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        threading.Event().wait(0.002 * round_number)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        data = (tmp_path / "file").read_bytes()
        assert len(data) == 200_000
        assert len(set(data)) == 1
