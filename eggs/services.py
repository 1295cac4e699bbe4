"""Writing eggs: importing files, making versions, deleting; the bundled ones. The formats live in `eggs.formats`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction

from audit.services import SYSTEM, Actor, Target, record
from eggs.definition import EggDefinition
from eggs.formats import EggWarning, parse
from eggs.models import Egg, EggVersion
from lormas.common import live

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What came in, what was repaired, what was left out."""

    eggs: list[Egg] = field(default_factory=list)
    warnings: list[EggWarning] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)


def import_egg(data: bytes, *, filename: str, user: Any = None, actor: Actor = SYSTEM, bundled: bool = False) -> ImportResult:
    """One file. The same `uuid` again makes a new version, the same content none.

    Raises:
        eggs.formats.EggRefused (a `Problem` of 422): its code is one of EGGS section 11; nothing is stored.
    """
    parsed = parse(data, filename=filename)
    egg = store_version(parsed.definition, source_format=parsed.version, warnings=parsed.warnings, user=user, actor=actor, bundled=bundled)
    return ImportResult(eggs=[egg], warnings=parsed.warnings)


def store_version(
    definition: EggDefinition, *, source_format: str, warnings: list[EggWarning], user: Any, actor: Actor, bundled: bool = False
) -> Egg:
    """Make the egg or its next version; idempotent by content."""
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
    eggs = Egg.objects.select_for_update(of=("self",)).select_related("current")
    if definition.uuid:
        return eggs.filter(uuid=uuid.UUID(definition.uuid)).first()
    return eggs.filter(current__digest=digest).order_by("created_at").first()


def _store(definition: EggDefinition, *, source_format: str, warnings: list[EggWarning], user: Any, actor: Actor, bundled: bool) -> Egg:
    digest = definition.digest()
    egg = _known(definition, digest)
    if egg is None:
        egg = Egg.objects.create(
            uuid=uuid.UUID(definition.uuid) if definition.uuid else uuid.uuid4(), name=definition.name[:191], owner=user, is_bundled=bundled
        )
    elif egg.current is not None and egg.current.digest == digest:
        return egg
    elif bundled and egg.versions.filter(digest=digest).exists():
        return egg  # somebody changed a bundled egg since: a start must not take that back
    number = (egg.versions.order_by("-number").values_list("number", flat=True).first() or 0) + 1
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
    egg.name, egg.author, egg.description = definition.name[:191], definition.author[:255], definition.description
    egg.category, egg.tags, egg.icon = definition.category[:64], definition.tags, definition.icon
    egg.save()
    record("eggs.import", actor=actor, target=Target("egg", str(egg.pk), egg.name), after={"version": number, "format": source_format})
    live.on_commit_publish("ui:eggs", {"type": "egg", "id": str(egg.pk)})
    return egg


def delete_egg(egg: Egg, *, actor: Actor) -> None:
    """Delete an egg and its versions. Raises ProtectedError (409 in_use) while containers are made of it; nothing changes then."""
    target = Target("egg", str(egg.pk), egg.name)
    with transaction.atomic():
        Egg.objects.filter(pk=egg.pk).update(current=None)
        egg.current = None
        egg.delete()
        record("eggs.delete", actor=actor, target=target)
        live.on_commit_publish("ui:eggs", {"type": "egg", "id": target.id, "deleted": True})


def import_bundled() -> list[Egg]:
    """The eggs that come with Lormas; a second call changes nothing."""
    return [egg for file in sorted(BUNDLED.glob("*.json")) for egg in import_egg(file.read_bytes(), filename=file.name, bundled=True).eggs]
