"""Letting go of a state that does not end by itself: open commands are given up, and the node is believed."""

from __future__ import annotations

from django.db import transaction

from audit.services import Actor, record
from containers.models import Container
from containers.services.observe import settle_status
from containers.services.power import overtake
from containers.services.publish import announce, target
from containers.states import Desired, Status
from lormas.common import clock
from lormas.common.errors import Conflict


def clear_state(container: Container, *, actor: Actor) -> Container:
    """End its running operation as cancelled and take its last observation for the truth; forget its crashes and the restart that waits.

    A crash loop ends so: nothing starts it again until somebody does. Nothing is asked of its node.

    Raises:
        Conflict `being_deleted`: what is being removed for good has no other state.
    """
    with transaction.atomic():
        row: Container = Container.objects.select_for_update(of=("self",)).select_related("node", "operation").get(pk=container.pk)
        if row.desired == Desired.DELETED:
            raise Conflict(f"{row.name} is being deleted for good.", code="being_deleted")
        before = row.status
        if row.running_operation is not None:
            overtake(row, row.running_operation)
        changes = {"restarts": 0, "restart_at": None, "status_deadline": None}
        ended = row.observed in ("", "creating", "created", "exited", "removed")
        if ended and row.desired == Desired.RUNNING:
            row.desired = Desired.STOPPED
        Container.objects.filter(pk=row.pk).update(**changes, desired=row.desired)
        for name, value in changes.items():
            setattr(row, name, value)
        if row.observed:
            settle_status(row, cause="command")
        else:
            row.status, row.status_reason, row.status_since = Status.FAILED, "It was never made on its node; start makes it.", clock.now()
            row.save(update_fields=["status", "status_reason", "status_since"])
            announce(row)
        record("containers.clear_state", actor=actor, target=target(row), before={"status": before}, after={"status": row.status})
    return row
