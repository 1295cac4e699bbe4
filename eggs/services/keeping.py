"""What is done to eggs that are there: labels, which version is the current one, deleting."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from audit.services import Actor, Target, record
from eggs.definition import EggDefinition
from eggs.models import Egg, EggVersion
from eggs.services.importing import show
from lormas.common import live


def target(egg: Egg) -> Target:
    """The egg as the journal names it."""
    return Target("egg", str(egg.pk), egg.name)


def announce(egg: Egg) -> None:
    """After the commit, tell browsers."""
    live.on_commit_publish("ui:eggs", {"type": "egg", "id": str(egg.pk)})


def label_egg(egg: Egg, *, changes: dict[str, Any], actor: Actor) -> Egg:
    """Change what the library files it under (`category`, `tags`); what it says is a version's and is not touched."""
    before = {name: getattr(egg, name) for name in changes}
    changed = {name: value for name, value in changes.items() if before[name] != value}
    if not changed:
        return egg
    with transaction.atomic():
        for name, value in changed.items():
            setattr(egg, name, value)
        egg.save(update_fields=[*changed, "updated_at"])
        record("eggs.update", actor=actor, target=target(egg), before={name: before[name] for name in changed}, after=changed)
        announce(egg)
    return egg


def use_version(version: EggVersion, *, actor: Actor) -> Egg:
    """Make a version the one that new containers get. Containers keep theirs."""
    with transaction.atomic():
        egg = Egg.objects.select_for_update(of=("self",)).select_related("current").get(pk=version.egg_id)
        if egg.current_id == version.pk:
            return egg
        before = egg.current.number if egg.current is not None else None
        egg.current = version
        show(egg, EggDefinition.from_json(version.definition))
        egg.save()
        record("eggs.use_version", actor=actor, target=target(egg), before={"version": before}, after={"version": version.number})
        announce(egg)
    return egg


def delete_egg(egg: Egg, *, actor: Actor) -> None:
    """Delete an egg and its versions. Raises ProtectedError (409 in_use) while containers are made of it; nothing changes then."""
    named = target(egg)
    with transaction.atomic():
        Egg.objects.filter(pk=egg.pk).update(current=None)
        egg.current = None
        egg.delete()
        record("eggs.delete", actor=actor, target=named)
        live.on_commit_publish("ui:eggs", {"type": "egg", "id": named.id, "deleted": True})
