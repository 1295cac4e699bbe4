"""Many at once: each result told; and a second container of the same make."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from rest_framework.test import APIClient

from audit.models import Entry
from containers.models import Container
from containers.services import PortWish, edit
from containers.services.duplicate import duplicate
from containers.services.manners import settings_of

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def api(user: Any) -> APIClient:
    made = APIClient()
    made.force_authenticate(user)
    return made


@pytest.fixture
def three(make: Any, agent: Any, bob: Any) -> tuple[Container, Container, Container]:
    """alice's running one, alice's stopped one, bob's running one."""
    one, two, other = make("one")[0], make("two", start=False)[0], make("other", user=bob)[0]
    for container, state in ((one, "running"), (two, "created"), (other, "running")):
        agent.done(container, state)
    return one, two, other


def test_each_is_asked_on_its_own_and_each_result_is_told(three: Any, alice: Any) -> None:
    """D02: another's container in the list is as if it were not there."""
    one, two, other = three
    missing = uuid4()
    answer = api(alice).post("/api/containers/bulk", {"ids": [one.pk, two.pk, other.pk, missing, one.pk], "action": "stop"}, format="json").json()
    told = [(r["name"], r["ok"], r["code"]) for r in answer["results"]]
    assert told == [("one", True, ""), ("two", False, "wrong_state"), ("", False, "not_found"), ("", False, "not_found")]
    assert (answer["accepted"], answer["refused"]) == (1, 3)
    assert answer["results"][0]["operation"]
    other.refresh_from_db()
    assert other.status == "running"
    assert Entry.objects.filter(action="containers.stop").count() == 1


@pytest.mark.parametrize("body", [{"ids": [], "action": "stop"}, {"ids": ["x"], "action": "stop"}, {"ids": [str(uuid4())], "action": "explode"},
                                  {"ids": [str(uuid4())] * 201, "action": "stop"}])  # fmt: skip
def test_nonsense_is_refused(alice: Any, body: Any) -> None:
    assert api(alice).post("/api/containers/bulk", body, format="json").status_code == 400


def test_into_the_trash_and_back_by_pages_that_ask_before_something_is_lost(three: Any, alice: Any, agent: Any) -> None:
    one, two, _other = three
    page = Client()
    page.force_login(alice)
    ids = [str(one.pk), str(two.pk)]
    asked = page.post("/containers/bulk", {"id": ids, "action": "delete"}).content.decode()
    assert "kept in the trash" in asked and "one" in asked
    assert Container.objects.alive().count() == 3
    done = page.post("/containers/bulk", {"id": ids, "action": "delete", "sure": "1"}).content.decode()
    assert "taken on: 2 of 2" in done
    for container in (one, two):
        agent.done(container, "exited")
    assert "one" in page.get("/containers?trash=1").content.decode()
    back = page.post("/containers/bulk", {"id": ids, "action": "restore"}).content.decode()
    assert "taken on: 2 of 2" in back
    assert Container.objects.alive().count() == 3
    assert page.post("/containers/bulk", {"id": [], "action": "start"}).status_code == 302
    assert page.post("/containers/bulk", {"id": ids, "action": "explode"}).status_code == 404


def test_a_duplicate_has_the_same_make_and_ports_of_its_own(make: Any, agent: Any, alice: Any) -> None:
    container, _ = make("web", ports=[PortWish(80, 30001), PortWish(81, 30002)], env={"A": "1"}, command=["httpd"])
    agent.done(container, "running")
    edit.change(container, user=alice, actor=alice.as_actor(), changes={"startup_script": "echo hi", "auto_heal": True})
    answer = api(alice).post(f"/api/containers/{container.pk}/duplicate", {}, format="json")
    assert answer.status_code == 201, answer.json()
    made = Container.objects.get(pk=answer.json()["id"])
    assert (made.name, made.env, made.command, made.image) == ("web-2", {"A": "1"}, ["httpd"], "busybox:stable")
    assert [p.container_port for p in made.ports.all()] == [80, 81]
    assert not {p.host_port for p in made.ports.all()} & {30001, 30002}
    assert (settings_of(made).startup_script, settings_of(made).auto_heal) == ("echo hi", True)
    taken = api(alice).post(f"/api/containers/{container.pk}/duplicate", {"name": "web-2"}, format="json")
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")


def test_a_registrys_password_goes_to_nobody_else(make: Any, agent: Any, alice: Any, root: Any) -> None:
    """I01"""
    container, _ = make("web", registry={"server": "r.example.org", "username": "u", "password": "geheim"})
    agent.done(container, "running")
    theirs, _ = duplicate(container, user=root, actor=root.as_actor())
    mine, _ = duplicate(container, user=alice, actor=alice.as_actor())
    assert theirs.registry == {} and mine.registry["username"] == "u" and mine.registry["password"] not in ("geheim", container.registry["password"])


def test_strangers_duplicate_nothing_and_viewers_make_nothing(running: Container, bob: Any, charlie: Any) -> None:
    assert api(bob).post(f"/api/containers/{running.pk}/duplicate", {}, format="json").status_code == 404
    assert Container.objects.count() == 1
    page = Client()
    page.force_login(running.owner)
    assert "web-2" in page.get(f"/containers/{running.pk}/duplicate").content.decode()
