"""Stats: taken in by batch, rolled up by the minute on the way in, read as series."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection, transaction

from agent.protocol.messages import ContainerStats, StatsReport
from containers.models import Container, StatsClaim, StatsMinute, StatsSample
from lormas.common import clock
from lormas.common.wires import resolve, wired

RANGES: dict[str, timedelta] = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}

STEP_MINUTES = {"24h": 1, "7d": 10}
REORDER_SECONDS = 120
"""Reports are not kept by agents: one that is older than the last by more was not overtaken; its node's clock was set back."""
_GREATEST = {"sqlite": "MAX", "postgresql": "GREATEST"}


class Metered(NamedTuple):
    """A container as handlers of `lormas.wiring.SAMPLES` get it."""

    pk: UUID
    name: str
    owner_id: UUID
    created_at: datetime


def take_in(node_id: UUID, report: StatsReport) -> None:
    """Store one report of a node: raw samples, minute roll-ups, the last sample on each row. Samples of foreign containers are dropped
    (D17); a report that came before, or is older than the last one, changes nothing (R51)."""
    rows = Container.objects.filter(node_id=node_id, pk__in=_ids(report.containers)).values_list("pk", "name", "owner_id", "created_at")
    known = {str(row[0]): Metered(*row) for row in rows}
    now = clock.now()
    samples = [_sample(known[s.container_id].pk, now, s) for s in report.containers if s.container_id in known]
    samples.append(
        StatsSample(
            subject_id=node_id,
            time=now,
            cpu_percent=report.node.cpu_percent,
            memory_bytes=report.node.memory_used_bytes,
            disk_bytes=report.node.storage_used_bytes,
        )
    )
    with transaction.atomic():
        if not _claim(node_id, report.sampled_at_unix):
            return
        _store(samples)
        for handler in wired("SAMPLES"):
            resolve(handler)(node_id, report, known)


def _claim(node_id: UUID, sampled_at_unix: float) -> bool:
    """True once for a report, however often it comes, and never for one that is older than the last. Holds the node's row until the commit, so that
    two writers take a node's reports one after the other. 0 = the agent tells no time: taken as it comes."""
    table = StatsClaim._meta.db_table
    key = StatsClaim._meta.get_field("node_id").get_db_prep_value(node_id, connection)
    told = math.isfinite(sampled_at_unix) and sampled_at_unix > 0
    newer = (
        f"sampled_at_unix = excluded.sampled_at_unix WHERE {table}.sampled_at_unix < excluded.sampled_at_unix"
        f" OR {table}.sampled_at_unix > excluded.sampled_at_unix + {REORDER_SECONDS}"
    )
    sql = f"INSERT INTO {table} (node_id, sampled_at_unix) VALUES (%s, %s) ON CONFLICT (node_id) DO UPDATE SET "  # noqa: S608 - names from the model
    with connection.cursor() as cursor:
        cursor.execute(sql + (newer if told else f"sampled_at_unix = {table}.sampled_at_unix"), [key, sampled_at_unix if told else 0.0])
        return bool(cursor.rowcount)


def _ids(samples: list[ContainerStats]) -> list[UUID]:
    found = []
    for sample in samples:
        try:
            found.append(UUID(sample.container_id))
        except ValueError:
            continue
    return found


def _sample(subject: UUID, now: datetime, s: ContainerStats) -> StatsSample:
    return StatsSample(
        subject_id=subject,
        time=now,
        cpu_percent=round(s.cpu_percent, 2),
        memory_bytes=s.memory_bytes,
        memory_limit_bytes=s.memory_limit_bytes,
        network_rx_bytes=s.network_rx_bytes,
        network_tx_bytes=s.network_tx_bytes,
        block_read_bytes=s.block_read_bytes,
        block_write_bytes=s.block_write_bytes,
        pids=s.pids,
        disk_bytes=s.disk_bytes,
    )


def as_json(sample: StatsSample) -> dict[str, Any]:
    """A sample as the API and the sockets give it."""
    return {
        "time": clock.rfc3339(sample.time),
        "cpu_percent": sample.cpu_percent,
        "memory_bytes": sample.memory_bytes,
        "memory_limit_bytes": sample.memory_limit_bytes,
        "network_rx_bytes": sample.network_rx_bytes,
        "network_tx_bytes": sample.network_tx_bytes,
        "block_read_bytes": sample.block_read_bytes,
        "block_write_bytes": sample.block_write_bytes,
        "pids": sample.pids,
        "disk_bytes": sample.disk_bytes,
    }


RAW = (
    "cpu_percent", "memory_bytes", "memory_limit_bytes", "network_rx_bytes", "network_tx_bytes", "block_read_bytes", "block_write_bytes", "pids",
    "disk_bytes",
)  # fmt: skip
_encode = msgspec.json.Encoder().encode


def _store(samples: list[StatsSample]) -> None:
    """Of one report, with the node's own as the last one. Plain statements: a thousand containers every ten seconds must cost next to nothing, and
    the ORM's bulk acts took three quarters of the time."""
    subject, moment = StatsSample._meta.get_field("subject_id"), StatsSample._meta.get_field("time")
    ids = [subject.get_db_prep_value(s.subject_id, connection) for s in samples]
    at = moment.get_db_prep_value(samples[0].time, connection)
    table, rows = StatsSample._meta.db_table, Container._meta.db_table
    places = ", ".join(["%s"] * (len(RAW) + 2))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table} (subject_id, time, {', '.join(RAW)}) VALUES ({places})",  # noqa: S608 - names from the model
            [(key, at, *(getattr(s, name) for name in RAW)) for key, s in zip(ids, samples, strict=True)],
        )
        _roll_up(cursor, ids, samples)
        time = clock.rfc3339(samples[0].time)
        cursor.executemany(
            f"UPDATE {rows} SET stats = %s WHERE id = %s",  # noqa: S608 - a name from the model
            [
                (_encode({"time": time, **{name: getattr(s, name) for name in RAW}}).decode(), key)
                for key, s in zip(ids[:-1], samples[:-1], strict=True)
            ],
        )


def _roll_up(cursor: Any, ids: list[Any], samples: list[StatsSample]) -> None:
    """Add to the minute's row, or make it: one statement, right under any number of writers."""
    greatest = _GREATEST[connection.vendor]
    table = StatsMinute._meta.db_table
    counters = ("network_rx_bytes", "network_tx_bytes", "block_read_bytes", "block_write_bytes", "disk_bytes")
    sql = (
        f"INSERT INTO {table} (subject_id, minute, count, cpu_sum, cpu_max, memory_sum, memory_max, {', '.join(counters)})"  # noqa: S608 - names from the model
        " VALUES (%s, %s, 1, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (subject_id, minute) DO UPDATE SET"
        f" count = {table}.count + 1, cpu_sum = {table}.cpu_sum + excluded.cpu_sum, cpu_max = {greatest}({table}.cpu_max, excluded.cpu_max),"
        f" memory_sum = {table}.memory_sum + excluded.memory_sum, memory_max = {greatest}({table}.memory_max, excluded.memory_max), "
        + ", ".join(f"{c} = excluded.{c}" for c in counters)
    )
    minute = StatsMinute._meta.get_field("minute").get_db_prep_value(samples[0].time.replace(second=0, microsecond=0), connection)
    cursor.executemany(
        sql,
        [
            (key, minute, s.cpu_percent, s.cpu_percent, s.memory_bytes, s.memory_bytes, *(getattr(s, c) for c in counters))
            for key, s in zip(ids, samples, strict=True)
        ],
    )


def history(subject_id: UUID, span: str) -> list[dict[str, Any]]:
    """Points of the last `1h` (raw, 5 s), `24h` (minutes) or `7d` (ten minutes, none left out), oldest first."""
    since = datetime.now(UTC) - RANGES[span]
    if span == "1h":
        return [as_json(s) for s in StatsSample.objects.filter(subject_id=subject_id, time__gte=since).order_by("time")[:2000]]
    step = STEP_MINUTES[span]
    points: list[dict[str, Any]] = []
    bucket: list[StatsMinute] = []
    for row in StatsMinute.objects.filter(subject_id=subject_id, minute__gte=since).order_by("minute").iterator(chunk_size=2000):
        if bucket and _slot(row, step) != _slot(bucket[0], step):
            points.append(_point(bucket))
            bucket = []
        bucket.append(row)
    return [*points, _point(bucket)] if bucket else points


def _slot(row: StatsMinute, step: int) -> int:
    return int(row.minute.timestamp()) // (60 * step)


def _point(bucket: list[StatsMinute]) -> dict[str, Any]:
    """Minutes in a row as one point: means over all samples, maxima, and the counters at its end."""
    count, last = sum(row.count for row in bucket), bucket[-1]
    return {
        "time": clock.rfc3339(last.minute),
        "cpu_percent": round(sum(row.cpu_sum for row in bucket) / count, 2),
        "cpu_percent_max": max(row.cpu_max for row in bucket),
        "memory_bytes": sum(row.memory_sum for row in bucket) // count,
        "memory_bytes_max": max(row.memory_max for row in bucket),
        **{name: getattr(last, name) for name in ("network_rx_bytes", "network_tx_bytes", "block_read_bytes", "block_write_bytes", "disk_bytes")},
    }
