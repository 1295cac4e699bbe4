"""Stats: taken in by batch, rolled up by the minute on the way in, read as series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection, transaction

from agent.protocol.messages import ContainerStats, StatsReport
from containers.models import Container, StatsClaim, StatsMinute, StatsSample
from lormas.common import clock
from lormas.common.database import again
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


Reports = Sequence[tuple[UUID, StatsReport]]
"""Of nodes, each with the node's id."""
MOST_SAMPLES = 2000
"""Of one transaction: so long others wait for their turn to write."""


def take_in(node_id: UUID, report: StatsReport) -> None:
    """Store one report of a node."""
    take_in_all([(node_id, report)])


def take_in_all(reports: Reports) -> None:
    """Store reports: raw samples, minute roll-ups, the last sample on each row. Many nodes' reports share a transaction: it is the transactions that
    are dear, not the rows. Samples of foreign containers are dropped (D17); a report that came before, or is older than its node's last one, changes
    nothing (R51).

    Raises:
        DatabaseError: the transactions before it are stored, this one and those after it are not.
    """
    for wave in _waves(reports):
        again(partial(_take_in, wave))


def _waves(reports: Reports) -> Iterator[Reports]:
    """In parts that fit a transaction, each with no more than one report of a node."""
    wave: dict[UUID, StatsReport] = {}
    size = 0
    for node_id, report in reports:
        weight = len(report.containers) + 1
        if wave and (node_id in wave or size + weight > MOST_SAMPLES):
            yield sorted(wave.items(), key=itemgetter(0))  # one order for all writers, so that no two wait for each other
            wave, size = {}, 0
        wave[node_id] = report
        size += weight
    if wave:
        yield sorted(wave.items(), key=itemgetter(0))


def _take_in(reports: Reports) -> None:
    ids = {found for _, report in reports for found in _ids(report.containers)}
    rows = Container.objects.order_by().filter(pk__in=ids).values_list("node_id", "pk", "name", "owner_id", "created_at")
    homes: dict[UUID, dict[str, Metered]] = {node_id: {} for node_id, _ in reports}
    for node_id, *row in rows:
        if node_id in homes:
            homes[node_id][str(row[0])] = Metered(*row)
    now = clock.now()
    with transaction.atomic():
        claimed = _claim({node_id: report.sampled_at_unix for node_id, report in reports})
        news = [(node_id, report, homes[node_id]) for node_id, report in reports if node_id in claimed]
        if not news:
            return
        _store(
            [_sample(known[s.container_id].pk, now, s) for _, report, known in news for s in report.containers if s.container_id in known],
            [_own_sample(node_id, now, report) for node_id, report, _ in news],
        )
        for handler in wired("SAMPLES"):
            resolve(handler)(news)


def _own_sample(node_id: UUID, now: datetime, report: StatsReport) -> StatsSample:
    """The machine's."""
    return StatsSample(
        subject_id=node_id,
        time=now,
        cpu_percent=_percent(report.node.cpu_percent),
        memory_bytes=_fit(report.node.memory_used_bytes),
        disk_bytes=_fit(report.node.storage_used_bytes),
    )


def _claim(told: dict[UUID, float]) -> set[UUID]:
    """Node -> when its report was sampled; returns those whose report is news: true once for a report, however often it comes, and never for one
    that is older than the last. Holds the nodes' rows until the commit, so that two writers take a node's reports one after the other. 0 = the agent
    tells no time: taken as it comes."""
    table = StatsClaim._meta.db_table
    column = StatsClaim._meta.get_field("node_id")
    keys = {column.get_db_prep_value(node_id, connection): node_id for node_id in told}
    last, now = f"{table}.sampled_at_unix", "excluded.sampled_at_unix"
    sql = (
        f"INSERT INTO {table} (node_id, sampled_at_unix) VALUES {', '.join(['(%s, %s)'] * len(keys))}"  # noqa: S608 - names from the model
        f" ON CONFLICT (node_id) DO UPDATE SET sampled_at_unix = CASE WHEN {now} > 0 THEN {now} ELSE {last} END"
        f" WHERE {now} = 0 OR {last} < {now} OR {last} > {now} + {REORDER_SECONDS} RETURNING node_id"
    )
    values: list[Any] = []
    for key, node_id in keys.items():
        values += [key, told[node_id] if math.isfinite(told[node_id]) and told[node_id] > 0 else 0.0]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return {keys[key] for (key,) in cursor.fetchall()}


def _ids(samples: list[ContainerStats]) -> list[UUID]:
    found = []
    for sample in samples:
        try:
            found.append(UUID(sample.container_id))
        except ValueError:
            continue
    return found


MOST: Final = 1 << 53
"""No agent says more of anything: a minute's sum of it fits its column, and a browser can count it."""


def _fit(value: int, most: int = MOST) -> int:
    return min(max(value, 0), most)


def _percent(value: float) -> float:
    return round(min(max(value, 0.0), 1e6), 2) if math.isfinite(value) else 0.0


def _sample(subject: UUID, now: datetime, s: ContainerStats) -> StatsSample:
    """Clamped to what the columns hold: one agent's nonsense must not keep out what others said in the same breath."""
    return StatsSample(
        subject_id=subject,
        time=now,
        cpu_percent=_percent(s.cpu_percent),
        memory_bytes=_fit(s.memory_bytes),
        memory_limit_bytes=_fit(s.memory_limit_bytes),
        network_rx_bytes=_fit(s.network_rx_bytes),
        network_tx_bytes=_fit(s.network_tx_bytes),
        block_read_bytes=_fit(s.block_read_bytes),
        block_write_bytes=_fit(s.block_write_bytes),
        pids=_fit(s.pids, 2**31 - 1),
        disk_bytes=None if s.disk_bytes is None else _fit(s.disk_bytes),
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


def _store(containers: list[StatsSample], nodes: list[StatsSample]) -> None:
    """Samples of one moment. Plain statements: a thousand containers every ten seconds must cost next to nothing, and the ORM's bulk acts took three
    quarters of the time."""
    subject, moment = StatsSample._meta.get_field("subject_id"), StatsSample._meta.get_field("time")
    containers = sorted(containers, key=lambda sample: sample.subject_id)
    samples = [*containers, *nodes]
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
            [(_encode({"time": time, **{name: getattr(s, name) for name in RAW}}).decode(), key) for key, s in zip(ids, containers, strict=False)],
        )


def _roll_up(cursor: Any, ids: list[Any], samples: list[StatsSample]) -> None:
    """Add to the minute's row, or make it: one statement, right under any number of writers."""
    greatest = _GREATEST[connection.vendor]
    table = StatsMinute._meta.db_table
    counters = ("network_rx_bytes", "network_tx_bytes", "block_read_bytes", "block_write_bytes", "disk_bytes")
    latest = {**{c: f"excluded.{c}" for c in counters}, "disk_bytes": f"COALESCE(excluded.disk_bytes, {table}.disk_bytes)"}
    sql = (
        f"INSERT INTO {table} (subject_id, minute, count, cpu_sum, cpu_max, memory_sum, memory_max, {', '.join(counters)})"  # noqa: S608 - names from the model
        " VALUES (%s, %s, 1, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (subject_id, minute) DO UPDATE SET"
        f" count = {table}.count + 1, cpu_sum = {table}.cpu_sum + excluded.cpu_sum, cpu_max = {greatest}({table}.cpu_max, excluded.cpu_max),"
        f" memory_sum = {table}.memory_sum + excluded.memory_sum, memory_max = {greatest}({table}.memory_max, excluded.memory_max), "
        + ", ".join(f"{c} = {value}" for c, value in latest.items())
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
