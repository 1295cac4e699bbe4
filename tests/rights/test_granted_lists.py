"""Lists of those who were granted things cost the same whatever the number of rows."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Role, User
from containers.models import Container
from eggs.models import Egg
from lormas.common.ids import new_id
from nodes.models import Cluster
from reservations.models import Machine
from tests.console.conftest import make_container, make_node
from tests.rights.conftest import client_of, give

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def test_a_list_with_grants_costs_the_same_queries_for_few_and_for_many(alice: Any, bob: Any, root: Any, node: Any, egg: Any, roles: Any) -> None:
    """Of each kind that can be granted, to a person and to a role; bob's own role sees nothing but his containers."""
    bare = Role.objects.create(slug="bare", name="Bare", capabilities=["containers.view"])
    User.objects.filter(pk=bob.pk).update(role=bare)
    counted = []
    for batch in (2, 30):
        for index in range(batch):
            name = f"x-{batch}-{index}"
            give(alice, make_container(name, alice, node), bob, "containers.stop")
            give(alice, make_container(f"role-{name}", alice, node), None, "containers.view", role=bare)
            give(root, make_node(name), bob, kind="node")
            give(root, Cluster.objects.create(name=name), bob, kind="cluster")
            give(root, Machine.objects.create(name=name, host="192.0.2.1"), bob, kind="machine")
            again = Egg.objects.get(pk=egg.pk)
            again.pk, again.uuid, again.name, again._state.adding = new_id(), str(uuid.uuid4()), name, True
            again.save(force_insert=True)
            give(root, again, bob, kind="egg")
        make_container(f"own-{batch}", bob, node)
        client = client_of(bob)
        for plural in ("containers", "nodes", "clusters", "eggs", "machines"):
            with CaptureQueriesContext(connection) as found:
                answer = client.get(f"/api/{plural}?page_size=100")
            counted.append((plural, answer.status_code, len(found)))
            assert answer.json()["count"] == {2: 2, 30: 32}[batch] + ({2: 3, 30: 34}[batch] if plural == "containers" else 0), plural
    assert counted[:5] == counted[5:]


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
