"""What viewers get of a sample: all of it, zeros and time included, with the fields of the stored one."""

from __future__ import annotations

import json
import uuid

import pytest

from agent.protocol import messages as wire
from containers.models import StatsSample
from containers.stats import as_json
from lormas.common import clock
from nodes.gateway.reports import Intake

pytestmark = pytest.mark.django_db


def test_a_live_sample_has_the_fields_of_a_stored_one() -> None:
    """Wire structs leave out what is 0; a browser that draws a rate from a missing counter draws nothing."""
    container_id = str(uuid.uuid4())
    report = wire.StatsReport(sampled_at_unix=1, node=wire.NodeUsage(), containers=[wire.ContainerStats(container_id=container_id, pids=1)])
    taken = Intake(uuid.uuid4(), strangers=frozenset()).take([report])
    frames = {channel: json.loads(data) for channel, data in taken.stats}
    sample = frames[f"stats:{container_id}"]
    assert set(sample) - {"container_id"} == set(as_json(StatsSample(subject_id=uuid.uuid4(), time=clock.now(), cpu_percent=0, memory_bytes=0)))
    assert clock.parse_rfc3339(sample["time"]) is not None
    assert (sample["network_rx_bytes"], sample["pids"]) == (0, 1)
