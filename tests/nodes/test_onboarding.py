"""Onboarding keys: a fleet joins with one expiring key."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from audit.models import Entry
from audit.services import SYSTEM
from lormas.common import clock
from lormas.common.errors import NotSignedIn
from nodes import onboarding, tokens
from nodes.models import Cluster, Node, OnboardingKey

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def key(**fields: Any) -> tuple[OnboardingKey, str]:
    return onboarding.create_key(**{"actor": SYSTEM, "name": "rack 4", "expires_at": clock.now() + timedelta(hours=1), **fields})


def test_many_machines_join_with_one_key_and_get_its_cluster_labels_and_taints(api: Any, olga: Any) -> None:
    cluster = Cluster.objects.create(name="eu")
    body = {
        "name": "rack 4",
        "expires_at": clock.rfc3339(clock.now() + timedelta(hours=1)),
        "max_uses": 2,
        "cluster": str(cluster.pk),
        "labels": {"rack": "4"},
        "taints": [{"key": "new", "effect": "NoSchedule"}],
        "name_prefix": "eu-",
    }
    made = api(olga).post("/api/onboarding-keys", body)
    assert made.status_code == 201, made.content
    text = made.json()["key"]
    assert text.startswith("lorj_") and f"LORMAS_JOIN_KEY={text}" in made.json()["command"]
    first = api(bearer=text).post("/api/nodes/join", {"hostname": "box.example.net", "instance_id": "i-1"})
    assert first.status_code == 201 and first.headers["Cache-Control"] == "no-store", first.content
    second = api(bearer=text).post("/api/nodes/join", {"hostname": "box.example.net", "instance_id": "i-2"})
    assert [first.json()["name"], second.json()["name"]] == ["eu-box", "eu-box-2"]
    node = tokens.node_of(first.json()["token"])
    assert str(node.pk) == first.json()["id"]
    assert (node.cluster, node.labels, node.taints[0]["key"], node.status) == (cluster, {"rack": "4"}, "new", "PENDING")
    third = api(bearer=text).post("/api/nodes/join", {"hostname": "box", "instance_id": "i-3"})
    assert (third.status_code, third.json()["code"], Node.objects.count()) == (401, "bad_key", 2)
    shown = api(olga).get("/api/onboarding-keys").json()["results"]
    assert (shown[0]["uses"], shown[0]["max_uses"]) == (2, 2)
    for secret in (text, first.json()["token"]):
        assert secret not in str(shown) + str(list(Entry.objects.values())) + str(list(OnboardingKey.objects.values()))


def test_the_same_machine_that_comes_again_gets_its_own_node_and_counts_once() -> None:
    row, text = key(max_uses=1)
    first, _ = onboarding.join(text, hostname="a", instance_id="same")
    again, token = onboarding.join(text, hostname="a", instance_id="same")
    row.refresh_from_db()
    assert (first.pk, row.uses, tokens.node_of(token).pk) == (again.pk, 1, first.pk)


@pytest.mark.parametrize("why", ["expired", "revoked", "wrong", "empty", "a node's token"])
def test_a_key_that_is_not_good_lets_nobody_in_and_never_says_why(why: str, make_node: Any, clock_at: Any, api: Any, olga: Any) -> None:
    row, text = key(max_uses=9)
    if why == "expired":
        clock_at(hours=2)
    elif why == "revoked":
        assert api(olga).delete(f"/api/onboarding-keys/{row.pk}").status_code == 200
        assert api(olga).delete(f"/api/onboarding-keys/{row.pk}").status_code == 409
    text = {"wrong": "lorj_nonsense", "empty": "", "a node's token": tokens.issue(make_node())}.get(why, text)
    before = Node.objects.count()
    answer = api(bearer=text).post("/api/nodes/join", {"hostname": "a", "instance_id": "x"})
    assert (answer.status_code, answer.json()["detail"]) == (401, onboarding.BAD_KEY)
    assert Node.objects.count() == before


def test_guessing_keys_ends_soon_and_a_good_one_from_there_still_works(api: Any) -> None:
    _, text = key()
    codes = [api(bearer=f"lorj_{n}").post("/api/nodes/join", {"hostname": "a", "instance_id": "x"}).status_code for n in range(25)]
    assert codes[0] == 401 and codes[-1] == 429
    assert api(bearer=text).post("/api/nodes/join", {"hostname": "a", "instance_id": "x"}).status_code == 201


def test_only_those_who_register_nodes_make_and_see_keys(api: Any, alice: Any, olga: Any) -> None:
    body = {"name": "k", "expires_at": clock.rfc3339(clock.now() + timedelta(hours=1))}
    assert api(alice).get("/api/onboarding-keys").status_code == 403
    assert api(alice).post("/api/onboarding-keys", body).status_code == 403
    assert api().post("/api/onboarding-keys", body).status_code == 401
    late = api(olga).post("/api/onboarding-keys", {**body, "expires_at": clock.rfc3339(clock.now() + timedelta(days=91))})
    assert (late.status_code, late.json()["errors"][0]["field"]) == (400, "expires_at")
    assert OnboardingKey.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_of_many_that_come_at_once_no_more_than_allowed_get_in() -> None:
    """A claim by conditional UPDATE, on SQLite and PostgreSQL."""
    row, text = key(max_uses=2)
    barrier, joined = threading.Barrier(6), []

    def rival(number: int) -> None:
        try:
            barrier.wait(10)
            joined.append(onboarding.join(text, hostname=f"h{number}", instance_id=f"i{number}")[0].pk)
        except NotSignedIn:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=rival, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    row.refresh_from_db()
    assert (len(set(joined)), row.uses, Node.objects.count()) == (2, 2, 2)
