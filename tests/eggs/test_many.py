"""Many files at once: each is told for itself, a refused one keeps no other out, and rivals make one egg of one uuid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.models import Entry
from audit.services import SYSTEM
from eggs.models import Egg, EggVersion
from eggs.services import import_egg, import_files, importing
from tests.eggs.conftest import egg_file, encoded, variable

pytestmark = pytest.mark.django_db
UUID = "3885c37c-f1da-4979-860d-4c200a8ca564"
STACKS = {"version": "2", "templates": [{"type": 3, "title": "A stack", "repository": {}}, {"title": "Web", "image": "nginx", "privileged": True}]}
FILES = [
    ("good.json", encoded(egg_file(uuid=UUID))),
    ("bad.json", b"{"),
    ("odd.json", encoded(egg_file(name="Odd", author="nobody"))),
    ("again.json", encoded(egg_file(uuid=UUID))),
    ("newer.json", encoded(egg_file(uuid=UUID, startup="./newer"))),
    ("templates.json", encoded(STACKS)),
    ("compose.yaml", b"services: {db: {image: 'postgres:16'}, built: {build: .}}"),
    ("latin.json", '{"name": "é"}'.encode("latin-1")),
]


@pytest.mark.parametrize("together", [1, 3, 50])
def test_each_file_is_told_for_itself(together: int) -> None:
    reports = {report.name: report for report in import_files(FILES, together=together)}
    assert list(reports) == [name for name, _ in FILES]
    assert {name: report.refused.code for name, report in reports.items() if report.refused} == {"bad.json": "E_SYNTAX", "latin.json": "E_SYNTAX"}
    outcomes = {name: [(taken.egg.name, taken.outcome) for taken in report.taken] for name, report in reports.items() if not report.refused}
    assert outcomes == {
        "good.json": [("Small", "new")], "odd.json": [("Odd", "new")], "again.json": [("Small", "unchanged")], "newer.json": [("Small", "version")],
        "templates.json": [("Web", "new")], "compose.yaml": [("db", "new")],
    }  # fmt: skip
    assert [warning.code for warning in reports["odd.json"].taken[0].warnings] == ["W_AUTHOR_NOT_EMAIL"]
    assert [warning.code for warning in reports["templates.json"].taken[0].warnings] == ["W_PRIVILEGED"]
    skipped = {name: [(one["name"], one["code"]) for one in report.skipped] for name, report in reports.items() if report.skipped}
    assert skipped == {"templates.json": [("A stack", "E_NEEDS_GIT")], "compose.yaml": [("built", "E_NEEDS_BUILD")]}
    assert Entry.objects.filter(action="eggs.import").count() == 5
    assert EggVersion.objects.get(egg__name="Small", number=2).source_format == "PTDL_v2"


def test_a_rival_who_imports_the_same_egg_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """R36: we looked and found nothing, and then they were first."""
    import_egg(encoded(egg_file(uuid=UUID, startup="./rival")), filename="rival.json")
    real, looks = importing._known, iter([None])
    monkeypatch.setattr(importing, "_known", lambda definition, digest: next(looks, real(definition, digest)))
    (report,) = import_files([("mine.json", encoded(egg_file(uuid=UUID, startup="./mine")))])
    assert [taken.outcome for taken in report.taken] == ["version"]
    assert [version.number for version in Egg.objects.get().versions.order_by("number")] == [1, 2]


class Terminal:
    """A stderr that says it is one."""

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_the_command_draws_its_progress_on_a_terminal_only(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in FILES:
        (tmp_path / name).write_bytes(data)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with pytest.raises(CommandError, match="2 of 8"):
        call_command("import_eggs", str(tmp_path), "--quiet")
    assert "] 8/8" in terminal.written
    assert "E_SYNTAX" in terminal.written
    quiet = Terminal()
    monkeypatch.setattr("sys.stderr", quiet)
    with pytest.raises(CommandError):
        call_command("import_eggs", str(tmp_path), "--quiet", "--no-progress")
    assert "/8" not in quiet.written
    assert Egg.objects.count() == 4


HOSTILE: dict[str, tuple[str, Any]] = {
    "the socket": ("egg.json", egg_file(lormas={"privileges": [{"kind": "bind", "value": "/var/run/docker.sock:/s"}]})),
    "the whole machine": ("egg.json", egg_file(lormas={"privileges": [{"kind": "bind", "value": "/:/host"}]})),
    "privileged": ("egg.json", egg_file(lormas={"privileges": [{"kind": "privileged"}]})),
    "a disk": ("egg.json", egg_file(lormas={"privileges": [{"kind": "device", "value": "/dev/sda"}]})),
    "a capability": ("egg.json", egg_file(lormas={"privileges": [{"kind": "capability", "value": "SYS_ADMIN"}]})),
    "host network": ("t.json", [{"title": "x", "image": "x", "network": "host"}]),
    "a template's socket": ("t.json", [{"title": "x", "image": "x", "volumes": [{"bind": "/var/run/docker.sock", "container": "/s"}]}]),
    "a privileged template": ("t.json", [{"title": "x", "image": "x", "privileged": True}]),
    "a service's root": ("c.json", {"services": {"x": {"image": "x", "volumes": ["/:/host"]}}}),
    "a privileged service": ("c.json", {"services": {"x": {"image": "x", "privileged": True, "cap_add": ["ALL"]}}}),
    "a service's devices": ("c.json", {"services": {"x": {"image": "x", "devices": ["/dev/kmsg"]}}}),
    "interpolated": ("c.json", {"services": {"x": {"image": "x", "volumes": ["${A:-/etc}:/etc"]}}}),
}


@pytest.mark.parametrize(("name", "raw"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_reaches_for_the_machine_waits_for_an_administrator(name: str, raw: Any) -> None:
    """A07 (Coolify CVE-2025-34159, CVE-2025-59156): twelve hostile files; `containers.services` refuses what waits."""
    egg = import_egg(encoded(raw), filename=name).eggs[0]
    assert egg.current is not None
    assert egg.current.needs_approval
    assert egg.current.privileges


IGNORED: list[Any] = [
    "privileged", {"kind": "root"}, {"kind": "bind"}, {"kind": "bind", "value": "/a/../..:/b"}, {"kind": "bind", "value": "a:/b"},
    {"kind": "device", "value": "/etc/shadow"}, {"kind": "device", "value": "/dev/../etc"}, {"kind": "capability", "value": "a b"},
    {"kind": "bind", "value": "/a:/b:rw,shared"}, {"kind": "bind", "value": ["/a:/b"]},
]  # fmt: skip


@pytest.mark.parametrize("wish", IGNORED, ids=json.dumps)
def test_a_wish_that_is_not_well_formed_is_no_wish(wish: Any) -> None:
    """A01, A02: nothing of it can come in later either; unknown options of an egg have no place to go."""
    raw = egg_file(lormas={"privileges": [wish], "Binds": ["/:/x"], "HostConfig": {"Privileged": True}}, privileged=True, mounts=["/:/x"])
    egg = import_egg(encoded(raw), filename="egg.json").eggs[0]
    assert egg.current is not None
    assert egg.current.privileges == []
    assert not {"Binds", "HostConfig", "privileged", "mounts"} & set(egg.current.definition)


def test_defaults_are_never_checked_when_an_egg_comes_in() -> None:
    """EGGS.md 3.1: 1,406 real eggs have a required variable whose default is empty."""
    variables = [
        variable("A", rules="required"),
        variable("B", default_value="true", rules="boolean"),
        variable("C", default_value="z", rules="in:a,b"),
    ]
    egg = import_egg(encoded(egg_file(variables=variables)), filename="egg.json").eggs[0]
    assert egg.current is not None
    assert egg.current.warnings == []


def test_what_is_written_is_whole_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose second egg can't be stored leaves the first out as well: the journal and the library say the same."""
    real, calls = importing.record, []

    def record(*args: Any, **fields: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise OSError("the disk is full")
        return real(*args, **fields)

    monkeypatch.setattr(importing, "record", record)
    with pytest.raises(OSError, match="disk"):
        list(import_files([("c.json", encoded({"services": {"a": {"image": "x"}, "b": {"image": "y"}}}))], actor=SYSTEM))
    assert not Egg.objects.exists()
