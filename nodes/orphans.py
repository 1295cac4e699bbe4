"""Containers with our label that no row knows: reported at once, removed after a grace, and never in a hurry (SECURITY A11, R45, R50).

What protects them: the label with this panel's instance (agents list nothing else), an age of at least `ORPHAN_GRACE_SECONDS` (15 minutes or more),
a complete listing that still names them, and a person's `keep`. Where a node reports more strangers than containers we know there, the rows
are missing rather than the containers superfluous (a database restored from an older backup): then nothing is removed by itself.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction

from agent.protocol.commands import RemovePayload
from agent.protocol.messages import ContainerReport
from audit.services import SYSTEM, Actor, record
from lormas.common import clock
from lormas.common.errors import Conflict
from lormas.common.wires import resolve, wired
from nodes import commands, events
from nodes.models import Node, Orphan
from nodes.services import target_of
from nodes.states import NodeStatus

log = structlog.get_logger(__name__)

REMOVE_SECONDS = 3600
FRESH = timedelta(hours=2)
MANY = 3


def known(container_ids: set[str]) -> set[str]:
    """Those that some row knows."""
    found: set[str] = set()
    for dotted in wired("NODE_KNOWN"):
        if container_ids:
            found |= resolve(dotted)(container_ids)
    return found


def note_listing(node_id: UUID, reports: list[ContainerReport], *, complete: bool) -> int:
    """Take in who a node says it holds; returns how many of them nobody knows. An incomplete listing (or one that failed) makes nobody disappear."""
    ids: dict[str, ContainerReport] = {}
    for report in reports:
        try:
            ids[str(UUID(report.container_id))] = report
        except ValueError:
            continue
    strangers = {key: report for key, report in ids.items() if report.state != "removed"}
    for key in known(set(strangers)):
        strangers.pop(key, None)
    now = clock.now()
    with transaction.atomic():
        if complete:
            Orphan.objects.filter(node_id=node_id).exclude(container_id__in=[UUID(key) for key in strangers]).delete()
        for key, report in strangers.items():
            seen = {
                "last_seen": now,
                "state": report.state[:16],
                "image": report.image.replace("\x00", "")[:512],
                "runtime_ref": report.runtime_ref.replace("\x00", "")[:128],
                "epoch": max(0, min(report.epoch, 2**62)),
            }
            orphan, is_new = Orphan.objects.update_or_create(
                node_id=node_id, container_id=UUID(key), defaults=seen, create_defaults={**seen, "first_seen": now}
            )
            if is_new:
                node = Node.objects.get(pk=node_id)
                events.note(node, "orphan", f"Container {key} ({orphan.image or 'no image told'}) runs here and nobody knows it.", level="warning")
    return len(strangers)


def why_kept(orphan: Orphan, *, many: bool) -> str:
    """Why the sweep leaves it alone now, as a sentence; "" if it would be removed."""
    now = clock.now()
    if orphan.keep:
        return "Kept by hand."
    if now - orphan.first_seen < timedelta(seconds=settings.ORPHAN_GRACE_SECONDS):
        due = orphan.first_seen + timedelta(seconds=settings.ORPHAN_GRACE_SECONDS)
        return f"Reported only; removed after {due:%Y-%m-%d %H:%M} UTC."
    if now - orphan.last_seen > FRESH or orphan.node.status != NodeStatus.ACTIVE:
        return "Its node has not named it lately."
    if many:
        return "More strangers than known containers: was the database restored? Remove them by hand."
    return ""


def many_on(node: Node) -> bool:
    """Do strangers outnumber what we know there?"""
    count = Orphan.objects.filter(node=node, keep=False).count()
    return count >= MANY and count > node.current_pods


def sweep() -> dict[str, int]:
    """Periodic: ask nodes to remove what has been an orphan for longer than the grace. Their data stays."""
    removed = kept = 0
    crowded: dict[UUID, bool] = {}
    for orphan in Orphan.objects.select_related("node"):
        many = crowded.setdefault(orphan.node_id, many_on(orphan.node))
        if why_kept(orphan, many=many):
            kept += 1
        elif remove(orphan, actor=SYSTEM):
            removed += 1
    if removed or kept:
        log.info("orphans.swept", removed=removed, kept=kept)
    return {"removed": removed, "kept": kept}


@transaction.atomic
def remove(orphan: Orphan, *, actor: Actor) -> bool:
    """Ask its node to remove it (its data stays). False: it was asked a while ago, or a row knows it by now.

    Raises:
        Conflict `too_young`: younger than 15 minutes, when a create may still be on its way.
    """
    now = clock.now()
    if now - orphan.first_seen < timedelta(minutes=15):
        raise Conflict(
            "It was found less than 15 minutes ago: wait, it may be on its way in.", code="too_young", extra={"state": "young", "allowed": []}
        )
    if known({str(orphan.container_id)}):
        orphan.delete()
        return False
    again = now - timedelta(seconds=REMOVE_SECONDS)
    asked = Orphan.objects.filter(pk=orphan.pk).exclude(asked_at__gt=again).update(asked_at=now)
    if not asked:
        return False
    commands.enqueue(
        orphan.node,
        "container.remove",
        payload=RemovePayload(keep_data=True),
        subject_id=orphan.container_id,
        epoch=orphan.epoch,
        deadline_seconds=REMOVE_SECONDS,
    )
    events.note(orphan.node, "orphan", f"Container {orphan.container_id}, which nobody knows, is being removed; its data stays.", level="warning")
    record("nodes.orphan_remove", actor=actor, target=target_of(orphan.node), after={"container": str(orphan.container_id), "image": orphan.image})
    return True


@transaction.atomic
def set_keep(orphan: Orphan, *, actor: Actor, keep: bool) -> Orphan:
    """Leave it alone for good, or no longer."""
    Orphan.objects.filter(pk=orphan.pk).update(keep=keep)
    orphan.keep = keep
    record("nodes.orphan_keep", actor=actor, target=target_of(orphan.node), after={"container": str(orphan.container_id), "keep": keep})
    return orphan
