"""Usage in: wired to the samples of containers, inside the transaction that stores them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection
from django.db.models import F

from billing.meter import Amounts, Reading, metered
from billing.models import UsageCursor, UsageHour
from lormas.common import clock
from nodes.models import Node

if TYPE_CHECKING:
    from agent.protocol.messages import ContainerStats, StatsReport
    from containers.stats import Metered

MAX_BEHIND_SECONDS = 3600.0
"""A report is not kept by agents: one that claims to be older comes from a wrong clock, and the panel's counts."""
_MOST = 1 << 62
AMOUNTS = (
    "cpu_core_seconds", "memory_byte_seconds", "disk_byte_seconds", "network_rx_bytes", "network_tx_bytes", "running_seconds", "seconds_unmeasured",
    "seconds_without_cpu", "seconds_without_disk",
)  # fmt: skip
"""Columns of UsageHour, as `billing.meter.Amounts` has them."""
_CURSOR = ("container_id", "at_unix", "started_at", "cpu_seconds", "network_rx_bytes", "network_tx_bytes", "memory_bytes", "disk_bytes")


def take_in(reports: list[tuple[UUID, StatsReport, dict[str, Metered]]]) -> None:
    """Count reports, one of a node: each with the node's id and those of its containers that live there, by id, with `name`, `owner_id` and
    `created_at`.

    The caller holds the nodes' claims on these reports (`containers.stats`), so reports of a node come one at a time; the cursors are locked as well,
    because a container may be moving. A sample that is not newer than its cursor changes nothing.
    """
    now = clock.unix()
    found: dict[str, tuple[Reading, Metered, UUID]] = {}
    for node_id, report, containers in reports:
        at = moment(report.sampled_at_unix, now)
        shift = at - report.sampled_at_unix if report.sampled_at_unix > 0 else 0.0
        told = ((s, containers[s.container_id]) for s in report.containers if s.container_id in containers)
        found |= {sample.container_id: (reading(sample, at, shift), container, node_id) for sample, container in told}
    if not found:
        return
    keys = [container.pk for _, container, _ in found.values()]
    rows = UsageCursor.objects.select_for_update().filter(container_id__in=keys).order_by("container_id").values_list(*_CURSOR)
    cursors = {str(row[0]): Reading(row[1], row[2], None, *row[3:]) for row in rows}
    cores = dict(Node.objects.order_by().filter(pk__in=[node_id for node_id, _, _ in reports]).values_list("pk", "cpu_cores"))
    newer: list[tuple[Any, Reading]] = []
    amounts: list[tuple[Any, Metered, int, Amounts]] = []
    column = UsageHour._meta.get_field("container_id")
    for one in sorted(found):
        latest, container, node_id = found[one]
        before = cursors.get(one)
        if before is not None and latest.at <= before.at:
            continue
        key = column.get_db_prep_value(container.pk, connection)
        newer.append((key, latest))
        parts = metered(before, latest, cores=float(cores.get(node_id) or 0), born=container.created_at.timestamp())
        amounts += [(key, container, hour, part) for hour, part in parts.items()]
    _store(newer, amounts)


def moment(sampled_at_unix: float, now: float) -> float:
    """When a report was made, by the panel's clock: a node can't write the future, nor hours that are over."""
    return sampled_at_unix if now - MAX_BEHIND_SECONDS < sampled_at_unix <= now else now


def reading(sample: ContainerStats, at: float, shift: float) -> Reading:
    """A sample as the meter takes it; `shift` is what the node's clock is behind."""
    started = clock.parse_rfc3339(sample.started_at)
    cpu = sample.cpu_seconds_total
    return Reading(
        at=at,
        started_at=sample.started_at[:40] if started else "",
        started=started.timestamp() + shift if started else None,
        cpu=cpu if cpu is not None and math.isfinite(cpu) and cpu >= 0 else None,
        rx=_bounded(sample.network_rx_bytes),
        tx=_bounded(sample.network_tx_bytes),
        memory=_bounded(sample.memory_bytes),
        disk=None if sample.disk_bytes is None else _bounded(sample.disk_bytes),
    )


def _bounded(value: int) -> int:
    return min(max(value, 0), _MOST)


def _store(newer: list[tuple[Any, Reading]], amounts: list[tuple[Any, Metered, int, Amounts]]) -> None:
    """Plain statements, as for the samples: a thousand containers each ten seconds must cost next to nothing."""
    cursors, hours = UsageCursor._meta.db_table, UsageHour._meta.db_table
    begins, owner = UsageHour._meta.get_field("hour"), UsageHour._meta.get_field("owner_id")
    moments = {hour: begins.get_db_prep_value(clock.at_unix(hour), connection) for hour in {hour for _, _, hour, _ in amounts}}
    owners = {who: owner.get_db_prep_value(who, connection) for who in {c.owner_id for _, c, _, _ in amounts}}
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {cursors} ({', '.join(_CURSOR)}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (container_id) DO UPDATE SET "  # noqa: S608 - names from the model
            + ", ".join(f"{name} = excluded.{name}" for name in _CURSOR[1:]),
            [(key, r.at, r.started_at, r.cpu, r.rx, r.tx, r.memory, r.disk) for key, r in newer],
        )
        cursor.executemany(
            f"INSERT INTO {hours} (container_id, hour, owner_id, container_name, {', '.join(AMOUNTS)})"  # noqa: S608 - names from the model
            f" VALUES (%s, %s, %s, %s, {', '.join(['%s'] * len(AMOUNTS))}) ON CONFLICT (container_id, hour) DO UPDATE SET"
            " container_name = excluded.container_name, " + ", ".join(f"{name} = {hours}.{name} + excluded.{name}" for name in AMOUNTS),
            [(key, moments[hour], owners[c.owner_id], c.name, *part) for key, c, hour, part in amounts],
        )


def forget_old(*, days: int) -> int:
    """Delete hours older than `days` (0: keep for ever), and cursors of containers that have not been heard of for 40 days; in chunks."""
    now, removed = clock.unix(), 0
    old: list[Any] = [UsageCursor.objects.filter(at_unix__lt=now - 40 * 86400)]
    if days:
        old.append(UsageHour.objects.filter(hour__lt=clock.at_unix(now - days * 86400)))
    for rows in old:
        while ids := list(rows.order_by(F("pk")).values_list("pk", flat=True)[:1000]):
            removed += rows.model.objects.filter(pk__in=ids).delete()[0]
    return removed
