"""What tests' panels are forked from gives processes as `subprocess` does, and each is a world of its own."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from tests import warm

PR_GET_CHILD_SUBREAPER = 37
LOOK = """
import os, sys
print(os.getcwd(), os.environ.get("MARK"), os.environ.get("HOME"), "django.conf" in sys.modules, flush=True)
os._exit(7)
"""


def run(folder: Path, name: str, statement: str, **environment: str) -> tuple[warm.Copy, Path]:
    file = folder / name
    with file.open("wb") as out:
        return warm.start("timeit", "-n", "1", "-r", "1", statement, env=environment, out=out), file


def test_a_copy_is_a_child_with_an_environment_output_and_end_of_its_own(tmp_path: Path) -> None:
    first, told = run(tmp_path, "first", LOOK, MARK="one")
    second, also_told = run(tmp_path, "second", LOOK, HOME="/elsewhere")
    assert (first.wait(30), second.wait(30)) == (7, 7)
    assert told.read_text().split() == [str(warm.ROOT), "one", "None", "True"]
    assert also_told.read_text().split() == [str(warm.ROOT), "None", "/elsewhere", "True"]
    reaper = ctypes.c_int(9)
    assert ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(reaper), 0, 0, 0) == 0
    assert reaper.value == 0, "orphans of others are not this process's"


def test_a_copy_dies_of_what_it_is_sent(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        copies = [warm.start("http.server", "0", "--bind", "127.0.0.1", env=dict(os.environ), out=out) for _ in range(3)]
    killed, ended, interrupted = copies
    assert [copy.poll() for copy in copies] == [None] * 3
    killed.kill()
    ended.terminate()
    assert (killed.wait(30), ended.wait(30), interrupted.poll()) == (-signal.SIGKILL, -signal.SIGTERM, None)
    interrupted.kill()
    assert interrupted.wait(30) == -signal.SIGKILL
