"""What tests' panels are forked from gives processes as `subprocess` does, and each is a world of its own."""

from __future__ import annotations

import contextlib
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


OURS = """
import os, sys
known = "lormas.common.ids" in sys.modules
from lormas.common import ids
print(known, os.getpid(), ids.PROCESS_ID, os.environ.get("MARK"), os.environ.get("PYTEST_CURRENT_TEST"), flush=True)
os._exit(0)
"""
LOOP = """
import os
from twisted.internet import reactor
asked, told = os.pipe()
def heard():
    print(os.read(asked, 9).decode(), flush=True)
    reactor.stop()
reactor._asyncioEventloop.add_reader(asked, heard)
reactor.callLater(0.01, os.write, told, str(os.getpid()).encode())
reactor.run()
os._exit(0)
"""


def copies(folder: Path, statement: str, ours: str, *environments: dict[str, str]) -> list[tuple[int, list[str]]]:
    """The process and the words of each, started at once."""
    started = []
    for number, environment in enumerate(environments):
        with (folder / f"copy-{number}").open("wb") as out:
            started.append(warm.start("timeit", "-n", "1", "-r", "1", statement, env=environment, out=out, ours=ours))
    assert [copy.wait(60) for copy in started] == [0] * len(started)
    return [(copy.pid, (folder / f"copy-{number}").read_text().split()) for number, copy in enumerate(started)]


def test_what_is_started_again_in_the_same_environment_has_ours_already_and_is_another_process(tmp_path: Path) -> None:
    tests = [{"MARK": "one", "PYTEST_CURRENT_TEST": name} for name in ("first", "second")]
    found = copies(tmp_path, OURS, "lormas.common.ids", *tests, {"MARK": "two"})
    for (pid, (known, own, name, mark, test)), given in zip(found, [*tests, {"MARK": "two"}], strict=True):
        assert (known, int(own), mark, test) == ("True", pid, given["MARK"], given.get("PYTEST_CURRENT_TEST", "None"))
        assert f":{pid}:" in name
    assert len({words[2] for _, words in found}) == 3


def test_each_has_an_event_loop_of_its_own(tmp_path: Path) -> None:
    found = copies(tmp_path, LOOP, "daphne.server", *[{"MARK": "loop"}] * 3)
    assert [words for _, words in found] == [[str(pid)] for pid, _ in found]


def test_where_ours_cannot_be_imported_it_starts_as_ever(tmp_path: Path) -> None:
    ((pid, (known, own, *_)),) = copies(tmp_path, OURS, "no_such_module", {"MARK": "three"})
    assert (known, int(own)) == ("False", pid)


def test_only_a_few_are_kept_and_one_that_dies_is_made_anew(tmp_path: Path) -> None:
    found = copies(tmp_path, OURS, "lormas.common.ids", *[{"MARK": str(number)} for number in range(warm.KEPT + 3)])
    assert {words[0] for _, words in found} == {"True"}
    (parent,) = [pid for pid, ancestor in family() if ancestor == os.getpid()]
    templates = [pid for pid, ancestor in family() if ancestor == parent]
    assert len(templates) == warm.KEPT
    for pid in templates:
        os.kill(pid, signal.SIGKILL)
    again = copies(tmp_path, OURS, "lormas.common.ids", *[{"MARK": str(warm.KEPT + 2)}] * 2)
    assert [words[0] for _, words in again] == ["False", "True"]


def family() -> list[tuple[int, int]]:
    """(process, its parent) of all that came from `tests.warm` and live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"\0tests.warm\0" in (folder / "cmdline").read_bytes():
                found.append((int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])))
    return found
