"""Tolerations that end, affinity, and the last place: placement as containers ask for it."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection

from containers.models import Container
from lormas.common.errors import Refused
from nodes.models import Node
from nodes.placement import Affinity, Demand, NodeView, Taint, Toleration, leaves_at, rank
from tests.containers import conftest as played

node, agent, make = played.node, played.agent, played.make
A = NodeView(id=uuid.UUID(int=1), name="a", status="ACTIVE", cpu_cores=4, memory_bytes=8, labels={"zone": "1"}, running={("app", "db"): 2})
B = replace(A, id=uuid.UUID(int=2), name="b", labels={"zone": "2"}, running={})


def order(*wishes: Affinity) -> tuple[list[str], list[str]]:
    found = rank(Demand(affinity=wishes), [A, B])
    return [view.name for view in found.candidates], [rejection.rule for rejection in found.rejected]


@pytest.mark.parametrize(
    ("wish", "candidates", "rejected"),
    [
        (Affinity("zone", "2"), ["b"], ["affinity"]),
        (Affinity("zone", "2", apart=True), ["a"], ["affinity"]),
        (Affinity("app", "db", containers=True), ["a"], ["affinity"]),
        (Affinity("app", "db", containers=True, apart=True), ["b"], ["affinity"]),
        (Affinity("zone", "2", required=False), ["b", "a"], []),
        (Affinity("app", "db", containers=True, apart=True, required=False), ["b", "a"], []),
        (Affinity("app", "db", containers=True, required=False), ["a", "b"], []),
        (Affinity("zone", "9"), [], ["affinity", "affinity"]),
    ],
)
def test_required_wishes_reject_and_others_only_order(wish: Affinity, candidates: list[str], rejected: list[str]) -> None:
    assert order(wish) == (candidates, rejected)


def test_weights_decide_between_wishes_and_each_answer_says_why() -> None:
    light, heavy = Affinity("zone", "1", required=False, weight=1), Affinity("zone", "2", required=False, weight=50)
    found = rank(Demand(affinity=(light, heavy)), [A, B])
    assert [view.name for view in found.candidates] == ["b", "a"]
    assert "preferred near nodes labelled zone=2" in found.why[B.id]
    (rejection,) = rank(Demand(affinity=(Affinity("app", "db", apart=True, containers=True),)), [A]).rejected
    assert rejection.reason == "It must be apart from containers labelled app=db."


def test_a_noexecute_taint_is_left_at_once_after_a_time_or_never() -> None:
    taint = Taint("bad", "NoExecute")
    assert leaves_at([(taint, 100.0)], []) == 100.0
    assert leaves_at([(taint, 100.0)], [Toleration("bad", seconds=60)]) == 160.0
    assert leaves_at([(taint, 100.0)], [Toleration("bad", seconds=60), Toleration("bad", seconds=30)]) == 130.0
    assert leaves_at([(taint, 100.0)], [Toleration("bad")]) is None
    assert leaves_at([(taint, 100.0), (Taint("x", "NoExecute"), 50.0)], [Toleration("bad")]) == 50.0
    assert leaves_at([(Taint("bad", "NoSchedule"), 1.0)], []) is None


@pytest.mark.django_db
@pytest.mark.redis
def test_a_containers_own_wishes_decide_where_it_goes(make: Any, node: Node, make_node: Any, api: Any, alice: Any) -> None:
    make_node("node-2", labels={"zone": "2"}, gateway="test", runtime_kind="docker", port_first=30000, port_last=30009)
    first, _ = make("first", labels={"app": "db"}, placement={"node_labels": {"zone": "2"}})
    apart, _ = make("apart", placement={"affinity": [{"key": "app", "value": "db", "apart": True, "containers": True}]})
    assert (first.node.name, apart.node.name) == ("node-2", "node-1")
    with pytest.raises(Refused) as refused:
        make("nowhere", placement={"node_labels": {"zone": "9"}})
    assert refused.value.code == "no_placement"
    answer = api(alice).post(
        "/api/containers", {"name": "x", "image": "busybox:1", "placement": {"affinity": [{"key": "a", "value": "b", "nope": 1}]}}
    )
    assert answer.status_code == 400, answer.content
    assert not Container.objects.filter(name__in=("nowhere", "x")).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
def test_two_clients_that_race_for_the_last_place_give_one_winner_and_a_reason(make: Any, node: Node) -> None:
    """R33: on SQLite and PostgreSQL."""
    Node.objects.filter(pk=node.pk).update(max_pods=1)
    barrier, ends = threading.Barrier(2), []

    def rival(name: str) -> None:
        try:
            barrier.wait(10)
            make(name)
            ends.append("made")
        except Refused as refusal:
            ends.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=rival, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(ends) == ["made", "no_placement"]
    assert (Container.objects.count(), Node.objects.get(pk=node.pk).current_pods) == (1, 1)
