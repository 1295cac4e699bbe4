"""Usage through its doors: sums by hour, day, container and owner; whose it is to see; what is refused."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from billing.models import UsageHour
from containers.models import Container
from lormas.common import clock
from tests.containers.conftest import _api

pytestmark = [pytest.mark.redis, pytest.mark.django_db]
DAY = datetime(2026, 11, 20, tzinfo=UTC)
SPAN = "from=2026-11-20T00:00:00Z&to=2026-11-22T00:00:00Z"


def hour(container: Any, begin: datetime, *, cpu: float = 60, **fields: Any) -> UsageHour:
    told = {"container_name": "web", "memory_byte_seconds": 3600.0 * (1 << 30), "running_seconds": 3600.0, "network_rx_bytes": 5, **fields}
    owner = told.pop("owner_id", None) or container.owner_id
    key = getattr(container, "pk", container)
    return UsageHour.objects.create(container_id=key, hour=begin, owner_id=owner, cpu_core_seconds=cpu, **told)


@pytest.fixture
def three(running: Container) -> Container:
    """Two hours of one day, one of the next, and one that lies after."""
    for begin, cpu in ((DAY, 10), (DAY + timedelta(hours=23), 20), (DAY + timedelta(hours=24), 40), (DAY + timedelta(hours=48), 80)):
        hour(running, begin, cpu=cpu)
    return running


def test_usage_is_summed_by_hour_and_day_and_the_end_is_left_out(alice_api: Any, three: Container) -> None:
    """R51."""
    by_hour = alice_api.get(f"/api/usage?container={three.pk}&{SPAN}&group_by=hour").json()
    assert [(g["time"], g["cpu_core_seconds"]) for g in by_hour["groups"]] == [
        ("2026-11-20T00:00:00Z", 10), ("2026-11-20T23:00:00Z", 20), ("2026-11-21T00:00:00Z", 40),
    ]  # fmt: skip
    by_day = alice_api.get(f"/api/usage?container={three.pk}&{SPAN}").json()
    assert [(g["time"], g["cpu_core_seconds"], g["network_rx_bytes"]) for g in by_day["groups"]] == [
        ("2026-11-20T00:00:00Z", 30, 10), ("2026-11-21T00:00:00Z", 40, 5),
    ]  # fmt: skip
    assert by_day["total"]["cpu_core_seconds"] == by_hour["total"]["cpu_core_seconds"] == 70
    assert (by_day["from"], by_day["to"], by_day["group_by"], by_day["left_off"]) == ("2026-11-20T00:00:00Z", "2026-11-22T00:00:00Z", "day", 0)
    empty = alice_api.get(f"/api/usage?container={three.pk}&from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z").json()
    assert empty["groups"] == [] and empty["total"]["running_seconds"] == 0


def test_everybody_sees_their_own_and_an_administrator_all(alice: Any, bob: Any, root: Any, three: Container) -> None:
    """D17: hours of containers that are gone stay their owner's."""
    gone = uuid.uuid4()
    hour(gone, DAY, cpu=500, owner_id=bob.pk, container_name="old")
    by = {name: _api(user) for name, user in (("alice", alice), ("bob", bob), ("root", root))}

    def names(who: str, query: str = "group_by=container") -> list[tuple[str, float]]:
        return [(g["name"], g["cpu_core_seconds"]) for g in by[who].get(f"/api/usage?{SPAN}&{query}").json()["groups"]]

    assert names("alice") == [("web", 70)]
    assert names("bob") == [("old", 500)]
    assert names("root") == [("old", 500), ("web", 70)]
    assert names("bob", f"group_by=container&container={gone}") == [("old", 500)]
    owners = by["root"].get(f"/api/usage?{SPAN}&group_by=owner").json()["groups"]
    assert [(g["owner_id"], g["cpu_core_seconds"]) for g in owners] == [(str(bob.pk), 500), (str(alice.pk), 70)]
    assert by["root"].get(f"/api/usage?{SPAN}&container={three.pk}").status_code == 200
    for who, container in (("bob", three.pk), ("alice", gone), ("root", uuid.uuid4())):
        answer = by[who].get(f"/api/usage?{SPAN}&container={container}")
        assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-13-01T00:00:00Z", "to"),
        ("to=0001-01-01T00:00:00Z", "to"),
        ("from=0001-01-01T00:00:00%2B10:00", "from"),
        ("from=2026-11-22T00:00:00Z&to=2026-11-20T00:00:00Z", "from"),
        ("from=2026-11-20T00:00:00Z&to=2026-11-20T00:00:00Z", "from"),
        ("from=2024-11-20T00:00:00Z&to=2026-11-20T00:00:00Z", "from"),
        ("from=2026-10-01T00:00:00Z&to=2026-11-20T00:00:00Z&group_by=hour", "from"),
        ("group_by=colour", "group_by"),
        ("container=web", "container"),
    ],
)
def test_what_makes_no_sense_is_told_by_field(alice_api: Any, query: str, field: str) -> None:
    answer = alice_api.get(f"/api/usage?{query}")
    assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (400, "application/problem+json")
    assert [one["field"] for one in answer.json()["errors"]] == [field]


def test_the_stats_page_shows_usage_with_its_gaps_or_says_that_there_is_none(alice: Any, bob: Any, running: Container) -> None:
    client, other = Client(), Client()
    client.force_login(alice)
    other.force_login(bob)
    address = f"/usage/containers/{running.pk}"
    assert f'hx-get="{address}"' in client.get(f"/containers/{running.pk}/stats").content.decode()
    assert "Nothing was used in this time" in client.get(address).content.decode()
    now = clock.now().replace(minute=0, second=0, microsecond=0)
    hour(running, now - timedelta(hours=2), cpu=1800, seconds_unmeasured=1800.0, memory_byte_seconds=1800.0 * (1 << 30))
    hour(running, now - timedelta(hours=3), cpu=1800, seconds_without_disk=1800.0, disk_byte_seconds=1800.0 * (3 << 30), memory_byte_seconds=0.0)
    assert "3.00\u202fGiB" in client.get(f"{address}?by=hour").content.decode(), "the mean of the time in which it was known"
    UsageHour.objects.filter(hour=now - timedelta(hours=3)).delete()
    for by in ("hour", "day"):
        text = client.get(f"{address}?by={by}").content.decode()
        assert "gap 30 min" in text and "0.50" in text and "1.00\u202fGiB" in text
    assert client.get(f"{address}?by=colour").status_code == 400
    assert other.get(address).status_code == 404


def test_usage_is_a_page_of_its_own_where_nothing_can_be_fetched_into_another(alice: Any, bob: Any, running: Container) -> None:
    """Without JavaScript the tab has a link to it, its ranges are links, and a date stays in one line; with it, the part alone is answered."""
    client = Client()
    client.force_login(alice)
    address = f"/usage/containers/{running.pk}"
    assert f'<noscript><p style="margin-top:16px"><a href="{address}">' in client.get(f"/containers/{running.pk}/stats").content.decode()
    hour(running, clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2))
    whole = client.get(address).content.decode()
    assert "<title>" in whole and f'href="/containers/{running.pk}/stats"' in whole
    for by in ("hour", "day"):
        assert f'href="{address}?by={by}"' in whole
        assert f'href="{address}?by={by}" hx-get="{address}?by={by}"' in client.get(f"{address}?by={by}").content.decode()
    assert '<span class="nowrap">20' in whole and 'href="?' not in whole.partition('id="usage"')[2]
    part = client.get(address, headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith("<section") and "<title>" not in part
    Container.objects.filter(pk=running.pk).delete()
    gone = client.get(address).content.decode()
    assert "web" in gone and f"/containers/{running.pk}/stats" not in gone
