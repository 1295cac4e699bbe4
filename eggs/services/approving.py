"""What an egg asks of the machine itself counts only after an administrator said yes, for exactly that version (A07)."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from audit.services import Actor, record
from eggs.models import EggVersion
from eggs.services.keeping import announce, target
from lormas.common import clock
from lormas.common.errors import Conflict


def approve_version(version: EggVersion, *, user: Any, actor: Actor) -> EggVersion:
    """Let containers of this version have what it asks for. The door asks for `eggs.manage` and `containers.host_access`.

    Raises Conflict `nothing_to_approve`. A second approval changes nothing.
    """
    if not version.privileges:
        raise Conflict(f"Version {version.number} asks for nothing of the machine.", code="nothing_to_approve")
    with transaction.atomic():
        if EggVersion.objects.filter(pk=version.pk, approved_at__isnull=True).update(approved_at=clock.now(), approved_by=user):
            asked = {"version": version.number, "privileges": version.privileges}
            record("eggs.approve", actor=actor, target=target(version.egg), after=asked)
            announce(version.egg)
    version.refresh_from_db()
    return version


def withdraw_approval(version: EggVersion, *, actor: Actor) -> EggVersion:
    """From the next start on no container of this version gets it; running ones are not touched."""
    with transaction.atomic():
        if EggVersion.objects.filter(pk=version.pk, approved_at__isnull=False).update(approved_at=None, approved_by=None):
            record("eggs.withdraw_approval", actor=actor, target=target(version.egg), before={"version": version.number})
            announce(version.egg)
    version.refresh_from_db()
    return version
