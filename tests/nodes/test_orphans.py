"""Containers with our label that nobody knows: reported first, removed after a grace, never in a hurry."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from lormas.common import clock
from lormas.common.errors import Conflict
from nodes import commands, orphans
from nodes.models import Command, NodeEvent, Orphan
from tests.containers import conftest as played
from tests.nodes.rig import report

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
node, agent, make, running = played.node, played.agent, played.make, played.running
STRANGER = uuid.uuid4()


def removals() -> list[uuid.UUID | None]:
    return list(Command.objects.filter(kind="container.remove").values_list("subject_id", flat=True))


def test_a_stranger_is_reported_at_once_and_removed_only_after_the_grace(node: Any, running: Any, clock_at: Any, settings: Any) -> None:
    """A11: only what our label and instance name reaches the panel at all; then a day of being told."""
    settings.ORPHAN_GRACE_SECONDS = 86400
    for moment in range(0, 26, 2):
        clock_at(hours=moment)
        orphans.note_listing(node.pk, [report(STRANGER, image="x"), report(running.pk)], complete=True)
        node.__class__.objects.filter(pk=node.pk).update(status="ACTIVE")
        orphans.sweep()
        assert bool(removals()) == (moment >= 24), moment
    assert removals() == [STRANGER] and NodeEvent.objects.filter(kind="orphan").count() == 2
    payload = commands.payload_of(Command.objects.get(kind="container.remove"))
    assert payload == {"keep_data": True}, "its data stays"


def test_one_younger_than_fifteen_minutes_is_never_removed_not_even_by_hand(node: Any, olga: Any, api: Any, settings: Any, clock_at: Any) -> None:
    """R50: a create may still be on its way."""
    settings.ORPHAN_GRACE_SECONDS = 0
    orphans.note_listing(node.pk, [report(STRANGER)], complete=True)
    with pytest.raises(Conflict):
        orphans.remove(Orphan.objects.get(), actor=olga.as_actor())
    refused = api(olga).delete(f"/api/nodes/{node.pk}/orphans/{Orphan.objects.get().pk}")
    assert (refused.status_code, refused.json()["code"], removals()) == (409, "too_young", [])
    clock_at(minutes=16)
    assert api(olga).delete(f"/api/nodes/{node.pk}/orphans/{Orphan.objects.get().pk}").status_code == 200
    assert removals() == [STRANGER]


def test_an_empty_failed_or_partial_listing_makes_nobody_disappear(node: Any, running: Any) -> None:
    """R11: nothing is known of what was not listed."""
    orphans.note_listing(node.pk, [report(STRANGER)], complete=True)
    orphans.note_listing(node.pk, [], complete=False)
    assert Orphan.objects.count() == 1
    orphans.note_listing(node.pk, [], complete=True)
    assert Orphan.objects.count() == 0
    running.refresh_from_db()
    assert running.status == "running"


def test_what_a_row_knows_is_no_orphan_and_one_that_became_known_is_let_go(node: Any, running: Any, make: Any, clock_at: Any, olga: Any) -> None:
    assert orphans.note_listing(node.pk, [report(running.pk), report("nonsense")], complete=True) == 0
    created, _ = make("fresh")
    Orphan.objects.create(node=node, container_id=created.pk, first_seen=clock.now(), last_seen=clock.now())
    clock_at(hours=1)
    assert orphans.remove(Orphan.objects.get(), actor=olga.as_actor()) is False
    assert Orphan.objects.count() == 0 and removals() == []


def test_after_a_database_was_restored_from_an_older_backup_nothing_is_removed_by_itself(
    node: Any, running: Any, settings: Any, clock_at: Any
) -> None:
    """R45: more strangers than known containers means that rows are missing."""
    settings.ORPHAN_GRACE_SECONDS = 900
    strangers = [report(uuid.uuid4()) for _ in range(5)]
    orphans.note_listing(node.pk, [report(running.pk), *strangers], complete=True)
    clock_at(hours=1)
    assert orphans.sweep() == {"removed": 0, "kept": 5}
    assert removals() == []
    assert "restored" in orphans.why_kept(Orphan.objects.first(), many=True)  # type: ignore[arg-type]


def test_one_can_be_kept_by_hand_and_a_node_that_is_silent_is_asked_nothing(
    node: Any, running: Any, settings: Any, clock_at: Any, api: Any, olga: Any, alice: Any
) -> None:
    settings.ORPHAN_GRACE_SECONDS = 900
    orphans.note_listing(node.pk, [report(STRANGER), report(running.pk)], complete=True)
    address = f"/api/nodes/{node.pk}/orphans/{Orphan.objects.get().pk}"
    assert api(alice).patch(address, {"keep": True}).status_code == 404
    kept = api(olga).patch(address, {"keep": True})
    assert (kept.status_code, kept.json()["why_kept"]) == (200, "Kept by hand.")
    clock_at(hours=1)
    assert orphans.sweep() == {"removed": 0, "kept": 1}
    api(olga).patch(address, {"keep": False})
    node.__class__.objects.filter(pk=node.pk).update(status="INACTIVE")
    assert orphans.sweep() == {"removed": 0, "kept": 1}
    listed = api(olga).get(f"/api/nodes/{node.pk}/orphans").json()["results"]
    assert listed[0]["why_kept"] == "Its node has not named it lately."
