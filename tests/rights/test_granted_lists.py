"""Lists of those who were granted things cost the same whatever the number of rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from containers.models import Container
from tests.console.conftest import make_container
from tests.rights.conftest import client_of, give

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def test_a_list_with_grants_costs_the_same_queries_for_few_and_for_many(alice: Any, bob: Any, node: Any) -> None:
    client, counted = client_of(bob), []
    for batch in (2, 30):
        for index in range(batch):
            give(alice, make_container(f"c-{batch}-{index}", alice, node), bob, "containers.stop")
        make_container(f"own-{batch}", bob, node)
        for address in ("/api/containers?page_size=100", "/api/nodes", "/api/eggs"):
            with CaptureQueriesContext(connection) as found:
                answer = client.get(address)
            counted.append((address, answer.status_code, len(found)))
    assert client.get("/api/containers").json()["count"] == 34
    assert counted[:3] == counted[3:]


def test_the_subquery_uses_indexes_and_never_reads_all_containers(alice: Any, bob: Any, node: Any) -> None:
    """No scan of the table, no cast of keys: what guardian's generic rows would do."""
    from containers.access import visible_containers

    web = make_container("web", alice, node)
    give(alice, web, bob, "containers.view")
    Container.objects.bulk_create([Container(name=f"c{index}", owner=alice, node=node, image="x") for index in range(3000)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    plan = visible_containers(bob).order_by().explain()
    assert "SCAN containers_container\n" not in plan + "\n" and "Seq Scan on containers_container " not in plan, plan
