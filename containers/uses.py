"""A container is used: what every door tells that acts on one for a person. Moves on the deadline of its idle timeout (SECURITY R52)."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

from django.db import transaction

from containers.models import Container, Idleness
from containers.services.publish import announce
from lormas.common import clock

QUIET_SECONDS = 10.0
"""Uses of one container that follow closer are not written down again: a key pressed costs nothing."""
KEPT = 10_000

_told: dict[str, float] = {}
"""Only spares writes: an empty or stale one loses nothing but a statement."""


def is_due(container_id: UUID | str) -> bool:
    """Would `used` write now? Asks nobody: for event loops."""
    return time.monotonic() - _told.get(str(container_id), float("-inf")) >= QUIET_SECONDS


def used(container_id: UUID | str, how: str, *, at_once: bool = False) -> None:
    """A person does something with it now. `at_once`: written down also when another use was told just before."""
    if not at_once and not is_due(container_id):
        return
    key = container_id if isinstance(container_id, UUID) else UUID(container_id)
    if len(_told) >= KEPT:
        _told.clear()
    _told[str(key)] = time.monotonic()
    found = Idleness.objects.filter(pk=key, stops_at__isnull=False).values_list("container__manners__idle_timeout_seconds", "warned_at").first()
    if found is None or not found[0]:
        return
    now = clock.now()
    with transaction.atomic():
        Idleness.objects.filter(pk=key, stops_at__isnull=False).update(
            used_at=now, used_by=how, stops_at=now + timedelta(seconds=found[0]), warned_at=None
        )
        if found[1] is not None:  # pages show the warning
            announce(Container.objects.get(pk=key))


def timeout_changed(container_id: UUID) -> None:
    """Its idle timeout is another one now: the clock begins anew, or ends."""
    used(container_id, "settings", at_once=True)
    Idleness.objects.filter(pk=container_id, container__manners__idle_timeout_seconds=0).update(stops_at=None, warned_at=None)
