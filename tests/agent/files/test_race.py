"""Somebody inside swaps folders for links while files are worked on from outside (SECURITY B04, CVE-2024-27102, CVE-2026-41568, CVE-2026-42306).

Three seconds here; LORMAS_RACE_SECONDS=120 makes it the two-minute one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.runtimes.base import RuntimeFailure
from tests.agent.files.conftest import Desk, Sent

SECONDS = float(os.environ.get("LORMAS_RACE_SECONDS", "3"))
MARKS = [pytest.mark.slow] if SECONDS > 20 else []
pytestmark = [*MARKS, pytest.mark.timeout(int(SECONDS * 6) + 60)]


@contextlib.contextmanager
def inside(folder: str, name: str) -> Iterator[tuple[int, str]]:
    """Whoever plays the container must not follow the links himself: what then lay outside would be his work and not the desk's."""
    above, _, last = name.rpartition("/")
    descriptor = os.open(f"{folder}/{above}" if above else folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor, last
    finally:
        os.close(descriptor)


def swap(folder: str, outside: str, stop: Any) -> None:
    """The container: a folder, a link out, a folder again, as fast as it can."""
    while not stop.is_set():
        for path in ("d", "d/e", "f"):
            with contextlib.suppress(OSError), inside(folder, path) as (at, name):
                os.rename(name, f"{name}.real", src_dir_fd=at, dst_dir_fd=at)
                os.symlink(outside if name != "f" else f"{outside}/secret", name, dir_fd=at)
                os.unlink(name, dir_fd=at)
                os.rename(f"{name}.real", name, src_dir_fd=at, dst_dir_fd=at)
        for path in ("d", "d/e", "f"):
            with contextlib.suppress(OSError), inside(folder, path) as (at, name):
                with contextlib.suppress(OSError):
                    os.symlink(outside, f"{name}.link", dir_fd=at)
                os.rename(name, f"{name}.old", src_dir_fd=at, dst_dir_fd=at)
                os.rename(f"{name}.link", name, src_dir_fd=at, dst_dir_fd=at)
                os.rename(name, f"{name}.link", src_dir_fd=at, dst_dir_fd=at)
                os.rename(f"{name}.old", name, src_dir_fd=at, dst_dir_fd=at)


def make(folder: Path) -> None:
    """What the swapping and deleting have eaten is put back."""
    for path in ("d", "d/e"):
        with contextlib.suppress(OSError), inside(str(folder), path) as (at, name):
            os.mkdir(name, dir_fd=at)
    with contextlib.suppress(OSError), (folder / "f").open("x") as file:
        file.write("inside")


QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("list", {"path": "d"}), ("create", {"path": "d/secret"}), ("create", {"path": "d/e/new"}), ("create", {"path": "d/folder", "type": "folder"}),
    ("move", {"pairs": [{"source": "d/secret", "target": "d/e/taken"}]}),
    ("move", {"pairs": [{"source": "f", "target": "d/secret"}], "overwrite": True}),
    ("move", {"pairs": [{"source": "d/secret", "target": "f"}], "overwrite": True}),
    ("copy", {"pairs": [{"source": "d/secret", "target": "stolen"}]}),
    ("copy", {"pairs": [{"source": "d", "target": "copy"}]}), ("chmod", {"paths": ["d/secret"], "mode": 0o777}),
    ("chmod", {"paths": ["d"], "mode": 0o777, "recursive": True}),
    ("delete", {"paths": ["d/secret"], "forever": True}), ("delete", {"paths": ["d/e"]}), ("delete", {"paths": ["copy", "stolen"], "forever": True}),
    ("compress", {"paths": ["d"], "target": "d/out.tar.gz"}), ("decompress", {"path": "good.tar", "target": "d", "overwrite": True}),
    ("search", {"query": "canary", "content": True}),
]  # fmt: skip
CARRIED: list[tuple[str, dict[str, Any]]] = [
    ("read", {"paths": ["d/secret"]}), ("read", {"paths": ["f"]}), ("read", {"paths": ["d"], "archive": "zip"}),
    ("write", {"path": "d/secret"}), ("write", {"path": "f"}),
]  # fmt: skip


async def work(desk: Desk, dice: random.Random, until: float) -> int:
    done = 0
    make(desk.folder)
    while time.monotonic() < until:
        done += 1
        try:
            if dice.random() < 0.3:
                kind, fields = dice.choice(CARRIED)
                _, pipe = await desk.acarry(kind, Sent(b"mine"), **fields)
                assert b"canary" not in pipe.got, (kind, fields)
            else:
                kind, fields = dice.choice(QUESTIONS)
                answer = await desk.aask(kind, **fields)
                assert "canary" not in str(answer.get("found", "")), fields
        except RuntimeFailure:
            pass
        except FileNotFoundError:
            pytest.fail("a gone file must be told as a refusal")
        if done % 50 == 0:
            make(desk.folder)
    return done


async def test_nothing_gets_out_while_folders_become_links(desk: Desk) -> None:
    """B04"""
    from tests.agent.files.test_unpack import tar

    (desk.folder / "good.tar").write_bytes(tar(("secret", b"mine"), ("e/new", b"mine")))
    (desk.folder / "f").write_text("inside")
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    swapper = context.Process(target=swap, args=(str(desk.folder), str(desk.outside), stop), daemon=True)
    swapper.start()
    try:
        done = await work(desk, random.Random(20261126), time.monotonic() + SECONDS)
    finally:
        stop.set()
        swapper.join(10)
        swapper.kill()
    assert done > 20
    for found in desk.folder.rglob("*"):
        if found.is_file() and not found.is_symlink() and desk.folder in found.resolve().parents:
            assert b"canary" not in found.read_bytes(), found
    assert (desk.outside / "secret").stat().st_mode & 0o777 != 0o777
