"""The lawful door out of the journal: rows that are older than they have to be kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from audit import chain
from audit.models import Entry, Pruning, Seal
from audit.services import SYSTEM, Actor, Target, record
from lormas.common import clock

SHORTEST_DAYS: Final = 7
"""Nobody prunes what may still be looked for this week."""


def prune(*, days: int, actor: Actor = SYSTEM, limit: int = 50_000) -> int:
    """Remove rows from the beginning of the chain that are older than `days`; what was removed is a row itself. Returns how many went.

    Raises:
        ValueError: fewer than `SHORTEST_DAYS`.
    """
    if days < SHORTEST_DAYS:
        raise ValueError(f"The journal is kept for at least {SHORTEST_DAYS} days.")
    cutoff = clock.now() - timedelta(days=days)
    with transaction.atomic():
        chain.lock()
        start = Seal.objects.order_by("number").first()
        if start is None:
            return 0
        numbers = list(Seal.objects.order_by("number").values_list("number", "entry_id", "digest")[:limit])
        times = dict(Entry.objects.filter(pk__in=Entry.objects.filter(time__lt=cutoff).values("pk")[: limit * 2]).values_list("pk", "time"))
        last = None
        for number, entry_id, digest in numbers:
            if entry_id not in times:
                break  # only a prefix: a younger row holds all behind it
            last = (number, digest)
        if last is None:
            return 0
        gone = last[0] - start.number + 1
        pruning = Pruning(up_to=last[0], head=last[1], rows=gone, time=clock.now())
        pruning.digest = chain.sign(chain.pruning_content(pruning))
        pruning.save(force_insert=True)
        going = Seal.objects.filter(number__lte=last[0])
        Entry.objects.filter(pk__in=going.values("entry_id"))._raw_delete(Entry.objects.db)
        going._raw_delete(Seal.objects.db)
        after = {"rows": gone, "older_than_days": days, "up_to": last[0]}
        record("audit.prune", actor=actor, target=Target("journal", "", "Journal"), after=after)
    return gone


def prune_by_setting() -> int:
    """As `AUDIT_RETENTION_DAYS` says; 0: everything is kept."""
    return prune(days=max(SHORTEST_DAYS, settings.AUDIT_RETENTION_DAYS)) if settings.AUDIT_RETENTION_DAYS else 0
