"""The chain that shows whether the journal was touched.

Each row carries a digest of its content, keyed with a secret that is not in the database: a changed or an invented row shows by itself. After the
commit, rows are sealed: a seal has the next number, and its digest covers the one before it, so a row that is missing shows as a gap. Sealing has
its own short transaction under a lock: acts never wait for each other, and two sealers never give one number twice (docs/adr/0015). What a
process that died left unsealed, a sweep seals within a minute.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Exists, OuterRef

from audit.models import Entry, Pruning, Seal
from lormas.common import clock
from lormas.common.crypto import derive_key

log = structlog.get_logger(__name__)
GENESIS: Final = "0" * 64
BATCH: Final = 500
LOCK: Final = 0x6C6F726D
"""PostgreSQL's advisory lock of the sealers."""
NEAR: Final = 1_000
"""How far below the last sealed id the quick look goes; late ones below that are the sweep's."""
GRACE: Final = timedelta(minutes=5)
"""A row that is older and has no seal is a finding."""


@lru_cache(maxsize=16)
def _keys(configured: tuple[str, ...]) -> dict[str, bytes]:
    """Key id -> key, the present one first. The id is in every digest, so that a rotated key still verifies while it is in FIELD_KEYS."""
    made = [derive_key(one, "audit").encode() for one in configured]
    return {hashlib.sha256(key).hexdigest()[:8]: key for key in made}


def _mac(text: str, *, key_id: str = "") -> str:
    """`<key id>:<hex>`; empty where the key is not configured."""
    keys = _keys(tuple(settings.FIELD_KEYS))
    key_id = key_id or next(iter(keys))
    key = keys.get(key_id)
    return f"{key_id}:{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}" if key is not None else ""


def sign(text: str) -> str:
    """Under the present key."""
    return _mac(text)


def _same(kept: str, text: str) -> bool:
    made = _mac(text, key_id=kept.partition(":")[0])
    return bool(made) and hmac.compare_digest(made, kept)


def _plain(value: Any) -> Any:
    """As both databases give it back: PostgreSQL writes 1e16 as a whole number."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value)) if abs(value) < 2**53 and value == int(value) else format(value, ".15g")
    return value


def _address(text: str | None) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        return str(text)


def content(entry: Entry) -> str:
    """What the digest covers: every column but the id (which the database gives) and the digest."""
    facts = [
        clock.rfc3339(entry.time),
        entry.actor_kind, entry.actor_id, entry.actor_label, entry.action, entry.outcome,
        entry.target_type, entry.target_id, entry.target_label,
        _plain(entry.before), _plain(entry.after), entry.message, entry.request_id, _address(entry.address),
    ]  # fmt: skip
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(entry: Entry) -> str:
    """The digest of a row that is about to be written."""
    return _mac(content(entry))


def _link(number: int, entry_id: int, entry_digest: str, before: str) -> str:
    return f"{number}|{entry_id}|{entry_digest}|{before}"


def _unsealed(*, last: int, everything: bool) -> list[Entry]:
    found = Entry.objects.filter(~Exists(Seal.objects.filter(entry_id=OuterRef("pk")))).order_by("id")
    if not everything:
        found = found.filter(id__gt=last - NEAR)
    return list(found[:BATCH])


def _lock(*, wait: bool) -> bool:
    """One sealer at a time. SQLite: the write lock that our transactions begin with."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        if wait:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            return True
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def lock() -> None:
    """Keep sealers out to the end of this transaction."""
    _lock(wait=True)


def _head() -> tuple[int, str]:
    """Number and digest of the last seal; where all were pruned, of the last of those."""
    last = Seal.objects.order_by("-number").values_list("number", "digest").first()
    if last is not None:
        return last
    pruned = Pruning.objects.order_by("-up_to").values_list("up_to", "head").first()
    return pruned if pruned is not None else (0, GENESIS)


def seal_pending(*, everything: bool = False, wait: bool = True) -> int:
    """Seal committed rows that have none, oldest first; returns how many.

    Args:
        everything: also late ones far below the last (the sweep); else only those near the end.
        wait: for another sealer; if not, and one is at work, 0: it or the sweep takes ours along.
    """
    sealed = 0
    while True:
        with transaction.atomic():
            if not _lock(wait=wait):
                return sealed
            top = Seal.objects.order_by("-number").values_list("entry_id", "number", "digest").first()
            rows = _unsealed(last=top[0] if top else 0, everything=everything)
            number, before = top[1:] if top else _head()
            seals = []
            for row in rows:
                number += 1
                before = _mac(_link(number, row.pk, row.digest, before))
                seals.append(Seal(number=number, entry_id=row.pk, digest=before, time=clock.now()))
            Seal.objects.bulk_create(seals)
        sealed += len(rows)
        if len(rows) < BATCH:
            return sealed


def seal_after_commit() -> None:
    """Once the act is committed, and once for all its rows."""
    if not any(waiting[1] is _seal_now for waiting in connection.run_on_commit):
        transaction.on_commit(_seal_now, robust=True)


_elsewhere: Callable[[], None] | None = None


def hand_over(ask: Callable[[], None] | None) -> None:
    """From now on acts don't seal: they only `ask` (see `audit.sealer`). None: they do again."""
    global _elsewhere
    _elsewhere = ask


def _seal_now() -> None:
    """What goes wrong here is logged and the sweep's: the act has happened."""
    if _elsewhere is not None:
        _elsewhere()
        return
    try:
        seal_pending(wait=False)
    except DatabaseError as error:
        log.warning("audit.seal_failed", error=str(error))


# ---------------------------------------------------------------------------------------------------------------- verify


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was written."""

    kind: str
    """changed | removed | inserted | broken | unsealed | pruning | key"""
    detail: str
    entry_id: int | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain. Whoever keeps it elsewhere can show later that nothing before it was cut off."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


def head() -> Head:
    return Head(*_head())


def _start(findings: list[Finding]) -> tuple[int, str]:
    """Where the chain begins: behind the last pruning that is genuine."""
    start = (0, GENESIS)
    for pruning in Pruning.objects.order_by("up_to"):
        if _same(pruning.digest, pruning_content(pruning)):
            start = (pruning.up_to, pruning.head)
        else:
            findings.append(
                Finding("pruning", f"Pruning {pruning.pk} up to number {pruning.up_to} was not written by this panel.", None, pruning.up_to)
            )
    return start


def pruning_content(pruning: Pruning) -> str:
    return f"prune|{pruning.up_to}|{pruning.head}|{pruning.rows}|{clock.rfc3339(pruning.time)}"


def _wrong(row: Entry) -> Finding | None:
    if _same(row.digest, content(row)):
        return None
    key_id = row.digest.partition(":")[0]
    if not row.digest or not key_id:
        return Finding("inserted", f"Row {row.pk} was not written by this panel.", row.pk)
    if key_id not in _keys(tuple(settings.FIELD_KEYS)):
        return Finding("key", f"Row {row.pk} was written under key {key_id}, which is not in FIELD_KEYS.", row.pk)
    return Finding("changed", f"Row {row.pk} ({row.action}, {clock.rfc3339(row.time)}) is not as it was written.", row.pk)


def verify(*, known: Head | None = None, now: datetime | None = None) -> Iterator[Finding]:
    """All that is wrong, in order; reads everything once, in batches.

    Args:
        known: an end of the chain that was kept elsewhere: it must still be part of it.
    """
    findings: list[Finding] = []
    number, before = _start(findings)
    yield from findings
    if known is not None and known.number > number and not Seal.objects.filter(number=known.number, digest=known.digest).exists():
        yield Finding(
            "removed", f"The chain no longer has number {known.number} as it was kept: its end was cut off or written anew.", None, known.number
        )
    while True:
        seals = list(Seal.objects.filter(number__gt=number).order_by("number")[:BATCH])
        rows = Entry.objects.in_bulk([seal.entry_id for seal in seals])
        for seal in seals:
            if seal.number != number + 1:
                yield Finding("removed", f"Seals {number + 1} to {seal.number - 1} are missing, and their rows with them.", None, number + 1)
            row = rows.get(seal.entry_id)
            if row is None:
                yield Finding("removed", f"Row {seal.entry_id} (number {seal.number}) is missing.", seal.entry_id, seal.number)
            else:
                wrong = _wrong(row)
                if wrong is not None:
                    yield wrong
                elif seal.number == number + 1 and not _same(seal.digest, _link(seal.number, seal.entry_id, row.digest, before)):
                    yield Finding("broken", f"Seal {seal.number} does not follow from the one before it.", seal.entry_id, seal.number)
            number, before = seal.number, seal.digest
        if len(seals) < BATCH:
            break
    late = (now or clock.now()) - GRACE
    for row in Entry.objects.filter(~Exists(Seal.objects.filter(entry_id=OuterRef("pk")))).order_by("id").iterator(chunk_size=BATCH):
        wrong = _wrong(row)
        if wrong is not None:
            yield wrong
        elif row.time < late:
            yield Finding("unsealed", f"Row {row.pk} is genuine, but no seal holds it: is the worker running?", row.pk)
