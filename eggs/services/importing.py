"""Importing files: eggs and their versions. The formats live in `eggs.formats`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from django.db import IntegrityError, transaction

from audit.services import SYSTEM, Actor, Target, record
from eggs.definition import EggDefinition
from eggs.formats import EggRefused, EggWarning, parse_all
from eggs.models import Egg, EggVersion
from lormas.common import live

BUNDLED = Path(__file__).parents[1] / "bundled"
Outcome = Literal["new", "version", "unchanged"]


@dataclass(frozen=True, slots=True)
class Taken:
    """One egg that came in."""

    egg: Egg
    outcome: Outcome
    warnings: list[EggWarning]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one file gave: what came in, was repaired, was left out; or why all of it was refused."""

    name: str
    taken: list[Taken] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    """{name, code, message}"""
    refused: EggRefused | None = None


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The same for all files together (SURFACE section 4)."""

    eggs: list[Egg] = field(default_factory=list)
    warnings: list[EggWarning] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def add(self, report: FileReport, *, several: bool) -> None:
        """`several`: each message says of what it is."""
        for taken in report.taken:
            self.eggs.append(taken.egg)
            name = f"{taken.egg.name}: " if several or len(report.taken) > 1 else ""
            self.warnings.extend(EggWarning(warning.code, name + warning.message) for warning in taken.warnings)
        self.skipped.extend(report.skipped)
        if report.refused is not None:
            self.skipped.append({"name": report.name, "code": report.refused.code, "message": report.refused.detail})


def import_file(data: bytes, *, filename: str, user: Any = None, actor: Actor = SYSTEM, bundled: bool = False) -> FileReport:
    """One file: an egg, a Portainer template file or a Compose file. The same `uuid` again makes a new version, the same content none.

    Raises:
        eggs.formats.EggRefused (a `Problem` of 422): its code is one of EGGS section 11; nothing is stored.
    """
    contents = parse_all(data, filename=filename)
    report = FileReport(filename, skipped=[{"name": one.name, "code": one.code, "message": one.message} for one in contents.skipped])
    for found in contents.eggs:
        egg, outcome = _kept(found.definition, source_format=found.version, warnings=found.warnings, user=user, actor=actor, bundled=bundled)
        report.taken.append(Taken(egg, outcome, found.warnings))
    return report


def import_egg(data: bytes, *, filename: str, user: Any = None, actor: Actor = SYSTEM, bundled: bool = False) -> ImportResult:
    """`import_file`, as the API answers it. Raises EggRefused."""
    result = ImportResult()
    result.add(import_file(data, filename=filename, user=user, actor=actor, bundled=bundled), several=False)
    return result


def import_files(files: Iterable[tuple[str, bytes]], *, user: Any = None, actor: Actor = SYSTEM, together: int = 1) -> Iterator[FileReport]:
    """Many files, each for itself: a refused one keeps no other out. `together`: how many share a transaction (a power cut loses whole groups)."""
    group: list[tuple[str, bytes]] = []
    for file in files:
        group.append(file)
        if len(group) >= together:
            yield from _group(group, user=user, actor=actor)
            group = []
    yield from _group(group, user=user, actor=actor)


def _group(group: list[tuple[str, bytes]], *, user: Any, actor: Actor) -> list[FileReport]:
    reports = []
    with transaction.atomic():
        for name, data in group:
            try:
                reports.append(import_file(data, filename=name, user=user, actor=actor))
            except EggRefused as refused:
                reports.append(FileReport(name, refused=refused))
    return reports


def store_version(
    definition: EggDefinition, *, source_format: str, warnings: list[EggWarning], user: Any, actor: Actor, bundled: bool = False
) -> Egg:
    """Make the egg or its next version; idempotent by content."""
    return _kept(definition, source_format=source_format, warnings=warnings, user=user, actor=actor, bundled=bundled)[0]


def _kept(
    definition: EggDefinition, *, source_format: str, warnings: list[EggWarning], user: Any, actor: Actor, bundled: bool
) -> tuple[Egg, Outcome]:
    for last_try in (False, True):
        try:
            with transaction.atomic():
                return _store(definition, source_format=source_format, warnings=warnings, user=user, actor=actor, bundled=bundled)
        except IntegrityError:  # somebody imports the same egg right now: theirs is there when we look again
            if last_try:
                raise
    raise AssertionError("unreachable")


def _known(definition: EggDefinition, digest: str) -> Egg | None:
    """The egg that a file means: by its uuid; one without, by its content."""
    eggs = Egg.objects.select_for_update(of=("self",)).select_related("current").defer("current__definition")
    if definition.uuid:
        return eggs.filter(uuid=uuid.UUID(definition.uuid)).first()
    return eggs.filter(current__digest=digest).order_by("created_at").first()


def _store(
    definition: EggDefinition, *, source_format: str, warnings: list[EggWarning], user: Any, actor: Actor, bundled: bool
) -> tuple[Egg, Outcome]:
    digest = definition.digest()
    egg = _known(definition, digest)
    outcome: Outcome = "new" if egg is None else "version"
    if egg is None:
        egg = Egg.objects.create(
            uuid=uuid.UUID(definition.uuid) if definition.uuid else uuid.uuid4(), name=definition.name[:191], owner=user, is_bundled=bundled
        )
    elif egg.current is not None and egg.current.digest == digest:
        return egg, "unchanged"
    elif bundled and egg.versions.filter(digest=digest).exists():
        return egg, "unchanged"  # somebody changed a bundled egg since: a start must not take that back
    number = (egg.versions.order_by("-number").values_list("number", flat=True).first() or 0) + 1 if outcome == "version" else 1
    egg.current = EggVersion.objects.create(
        egg=egg,
        number=number,
        source_format=source_format,
        definition=definition.to_json(),
        digest=digest,
        warnings=[{"code": w.code, "message": w.message} for w in warnings],
        hidden=sorted(definition.hidden_names),
        privileges=[{"kind": privilege.kind, "value": privilege.value} for privilege in definition.privileges],
        created_by=user,
    )
    show(egg, definition)
    egg.save()
    record("eggs.import", actor=actor, target=Target("egg", str(egg.pk), egg.name), after={"version": number, "format": source_format})
    live.on_commit_publish("ui:eggs", {"type": "egg", "id": str(egg.pk)})
    return egg, outcome


def show(egg: Egg, definition: EggDefinition) -> None:
    """What the library shows of an egg, from what its current version says; the caller saves."""
    egg.name, egg.author, egg.description = definition.name[:191], definition.author[:255], definition.description
    egg.category, egg.tags, egg.icon = definition.category[:64], definition.tags, definition.icon


def import_bundled() -> list[Egg]:
    """The eggs that come with Lormas; a second call changes nothing."""
    files = sorted(file for file in BUNDLED.iterdir() if file.suffix in (".json", ".yaml"))
    return [egg for file in files for egg in import_egg(file.read_bytes(), filename=file.name, bundled=True).eggs]
