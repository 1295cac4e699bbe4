"""What viewers get of a sample: all of it, zeros and time included, with the fields of the stored one; and how samples of many nodes are taken in."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from agent.protocol import messages as wire
from containers.models import Container, StatsMinute, StatsSample
from containers.stats import as_json
from lormas.common import clock
from nodes.gateway.samples import Told, take_samples
from nodes.models import Node
from tests.console.conftest import make_container, make_node

pytestmark = pytest.mark.django_db


def told(node: uuid.UUID, *containers: str, at: float = 1.0, strangers: frozenset[str] = frozenset(), **fields: Any) -> Told:
    rows = [wire.ContainerStats(container_id=one, **{"pids": 1, **fields}) for one in containers]
    return Told(node, strangers, wire.StatsReport(sampled_at_unix=at, node=wire.NodeUsage(cpu_percent=5.0), containers=rows))


def test_a_live_sample_has_the_fields_of_a_stored_one() -> None:
    """Wire structs leave out what is 0; a browser that draws a rate from a missing counter draws nothing."""
    container_id = str(uuid.uuid4())
    taken = take_samples([told(uuid.uuid4(), container_id)], {f"stats:{container_id}"})
    frames = {channel: json.loads(data) for channel, data in taken.frames}
    sample = frames[f"stats:{container_id}"]
    assert set(sample) - {"container_id"} == set(as_json(StatsSample(subject_id=uuid.uuid4(), time=clock.now(), cpu_percent=0, memory_bytes=0)))
    assert clock.parse_rfc3339(sample["time"]) is not None
    assert (sample["network_rx_bytes"], sample["pids"]) == (0, 1)


def test_no_frame_is_made_that_nobody_waits_for() -> None:
    one, other, node = str(uuid.uuid4()), str(uuid.uuid4()), uuid.uuid4()
    assert [channel for channel, _ in take_samples([told(node, one, other)], {f"stats:{other}"}).frames] == [f"stats:{other}"]
    assert take_samples([told(node, one, other)], set()).frames == []
    assert [channel for channel, _ in take_samples([told(node, one)], {f"stats:{node}"}).frames] == [f"stats:{node}"]


def test_one_batch_of_many_nodes_is_stored_as_each_alone_would_be(alice: Any) -> None:
    """D17, R51: each sample once on its own container and node; two reports of one node in a batch are two; a repeat and a foreign one are none."""
    first, second = make_node("fra-1"), make_node("fra-2")
    web, db = make_container("web", alice, first), make_container("db", alice, second)
    batch = [
        told(first.pk, str(web.pk), cpu_percent=10.0),
        told(second.pk, str(db.pk), str(web.pk), cpu_percent=20.0),  # web lives on the first
        told(first.pk, str(web.pk), at=2.0, cpu_percent=30.0),
        told(first.pk, str(web.pk), at=2.0, cpu_percent=30.0),
    ]
    taken = take_samples(batch, set())
    assert taken.violations == [[], [f"stats name container {web.pk} of another node"], [], []]
    samples = [(str(one.subject_id), one.cpu_percent) for one in StatsSample.objects.order_by("pk")]
    assert sorted(samples) == sorted(
        [(str(web.pk), 10.0), (str(db.pk), 20.0), (str(web.pk), 30.0), (str(first.pk), 5.0), (str(first.pk), 5.0), (str(second.pk), 5.0)]
    )
    assert StatsMinute.objects.get(subject_id=db.pk).count == 1
    assert sum(StatsMinute.objects.filter(subject_id=web.pk).values_list("count", flat=True)) == 2
    assert [Container.objects.get(pk=one.pk).stats["cpu_percent"] for one in (web, db)] == [30.0, 20.0]


def test_a_container_that_its_old_node_still_holds_is_no_violation_and_no_sample(alice: Any) -> None:
    """D04: known since the hello, it is dropped without blame."""
    first, second = make_node("fra-1"), make_node("fra-2")
    web = make_container("web", alice, first)
    assert take_samples([told(second.pk, str(web.pk), "no-uuid", strangers=frozenset({str(web.pk)}))], set()).violations == [[]]
    assert not StatsSample.objects.filter(subject_id=web.pk).exists()


def test_numbers_that_no_column_holds_are_clamped_and_keep_no_neighbour_out(alice: Any) -> None:
    """D17: one agent's nonsense in the same transaction as an honest one's report."""
    first, second = make_node("fra-1"), make_node("fra-2")
    web, db = make_container("web", alice, first), make_container("db", alice, second)
    wild = dict.fromkeys(("memory_bytes", "network_rx_bytes", "disk_bytes", "pids"), 2**63 - 1)
    for at in (1.0, 2.0, 3.0):
        take_samples([told(first.pk, str(web.pk), at=at, cpu_percent=1e308, **wild), told(second.pk, str(db.pk), at=at)], set())
    assert StatsSample.objects.filter(subject_id=db.pk).count() == StatsSample.objects.filter(subject_id=web.pk).count() == 3
    most = StatsSample.objects.filter(subject_id=web.pk).first()
    assert most is not None and (most.memory_bytes, most.pids, most.cpu_percent) == (2**53, 2**31 - 1, 1e6)


def test_a_fault_in_one_report_loses_that_report_only(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from containers import stats

    first, second = make_node("fra-1"), make_node("fra-2")
    web, db = make_container("web", alice, first), make_container("db", alice, second)
    sound = stats._own_sample

    def poisoned(node_id: uuid.UUID, *rest: Any) -> StatsSample:
        if node_id == first.pk:
            raise RuntimeError("poison")
        return sound(node_id, *rest)

    monkeypatch.setattr(stats, "_own_sample", poisoned)
    take_samples([told(first.pk, str(web.pk)), told(second.pk, str(db.pk))], set())
    assert {str(one) for one in StatsSample.objects.values_list("subject_id", flat=True)} == {str(db.pk), str(second.pk)}
    assert Node.objects.count() == 2
