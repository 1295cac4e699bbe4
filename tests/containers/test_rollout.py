"""Rollouts: a version of an egg reaches chosen containers at their next start, and goes back; rights and refusals beside."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from audit.models import Entry
from containers.models import Container, RolloutItem
from containers.services import act
from eggs.services import approve_version, import_egg
from tests.eggs.conftest import egg_file, encoded, variable

pytestmark = pytest.mark.redis
UUID = "3885c37c-f1da-4979-860d-4c200a8ca564"


def client(person: Any) -> APIClient:
    made = APIClient()
    made.force_authenticate(person)
    return made


def version(**changes: Any) -> Any:
    base: dict[str, Any] = {
        "uuid": UUID,
        "docker_images": {"Stable": "example/game:1", "Old": "example/game:0"},
        "startup": "./server",
        "variables": [variable("LEVEL", default_value="easy"), variable("GONE", default_value="x")],
    }
    return import_egg(encoded(egg_file(**{**base, **changes})), filename="e.json").eggs[0]


NEWER: dict[str, Any] = {
    "docker_images": {"Stable": "example/game:2", "Old": "example/game:0"},
    "startup": "./server --new",
    "variables": [variable("LEVEL", default_value="easy"), variable("MODE", default_value="normal")],
}


def roll(person: Any, egg: Any, *containers: Container, **body: Any) -> Any:
    return client(person).post(f"/api/eggs/{egg.pk}/rollouts", {"containers": [str(c.pk) for c in containers], **body}, format="json")


def started(agent: Any, container: Container) -> Container:
    agent.done(container, "running")
    return container


def test_a_version_comes_with_the_next_start_and_goes_back(alice: Any, make: Any, agent: Any) -> None:
    egg = version()
    container, _ = make("one", egg=egg, image="", variables={"LEVEL": "hard", "GONE": "mine"})
    started(agent, container)
    assert container.image == "example/game:1"
    egg = version(**NEWER)
    container.refresh_from_db()
    assert container.egg_version.number == 1, "containers keep theirs until moved"
    plan = roll(alice, egg, container, dry_run=True)
    assert (plan.status_code, plan.json()["moves"][0]["image"], plan.json()["moves"][0]["dropped"]) == (200, "example/game:2", ["GONE"])
    container.refresh_from_db()
    assert container.egg_version.number == 1
    answer = roll(alice, egg, container)
    assert answer.status_code == 201
    item = answer.json()["items"][0]
    assert (item["state"], item["from_version"], item["in_effect"]) == ("applied", 1, False)
    container.refresh_from_db()
    assert (container.egg_version.number, container.image, container.variables, container.status) == (
        2,
        "example/game:2",
        {"LEVEL": "hard"},
        "running",
    )
    act(container, "restart", user=alice, actor=alice.as_actor())
    assert agent.open_command(container).kind == "container.create", "the engine's container is made anew"
    container.refresh_from_db()
    assert container.spec["env"]["STARTUP"] == "./server --new"
    agent.done(container, "running")
    shown = client(alice).get(f"/api/eggs/{egg.pk}/rollouts").json()["results"][0]
    assert shown["items"][0]["in_effect"] is True
    back = client(alice).post(f"/api/eggs/{egg.pk}/rollouts/{shown['id']}/revert")
    assert (back.status_code, back.json()["items"][0]["state"]) == (200, "reverted")
    container.refresh_from_db()
    assert (container.egg_version.number, container.image) == (1, "example/game:1")
    assert container.variables == {"LEVEL": "hard", "GONE": "mine"}
    assert client(alice).post(f"/api/eggs/{egg.pk}/rollouts/{shown['id']}/revert").json()["code"] == "reverted"
    assert Entry.objects.filter(action="containers.egg_version", target_id=str(container.pk)).count() == 2


def test_one_that_can_not_take_it_keeps_what_it_has_and_says_why(alice: Any, make: Any, agent: Any) -> None:
    egg = version()
    good, bad = make("good", egg=egg, variables={"LEVEL": "1"})[0], make("bad", egg=egg, variables={"LEVEL": "hard"})[0]
    egg = version(variables=[variable("LEVEL", default_value="1", rules="required|integer")])
    items = {item["name"]: item for item in roll(alice, egg, good, bad).json()["items"]}
    assert (items["good"]["state"], items["bad"]["state"]) == ("applied", "refused")
    assert items["bad"]["detail"] == "LEVEL: It must be a whole number."
    bad.refresh_from_db()
    assert (bad.egg_version.number, bad.variables) == (1, {"LEVEL": "hard"})
    again = roll(alice, egg, good)
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_do")


def test_a_revert_leaves_alone_what_was_moved_on_since(alice: Any, make: Any) -> None:
    egg = version()
    container, _ = make("one", egg=egg)
    first = roll(alice, version(**NEWER), container).json()["id"]
    egg = version(**{**NEWER, "startup": "./server --third"})
    roll(alice, egg, container)
    back = client(alice).post(f"/api/eggs/{egg.pk}/rollouts/{first}/revert").json()
    assert back["items"][0]["state"] == "kept"
    container.refresh_from_db()
    assert container.egg_version.number == 3


def test_own_images_and_named_commands_are_kept(alice: Any, make: Any) -> None:
    commands = {"Default": "./a", "Debug": "./a -v"}
    egg = version(meta={"version": "PLCN_v3"}, startup_commands=commands)
    own, named = make("own", egg=egg, image="alice/own:1")[0], make("named", egg=egg, image="example/game:0", startup="Debug")[0]
    assert named.startup == "Debug"
    egg = version(meta={"version": "PLCN_v3"}, startup_commands={**commands, "Third": "./c"})
    roll(alice, egg, own, named)
    for container in (own, named):
        container.refresh_from_db()
    assert (own.image, named.image, named.startup, named.egg_version.number) == ("alice/own:1", "example/game:0", "Debug", 2)


def test_nobody_moves_what_is_not_theirs_to_edit(alice: Any, bob: Any, charlie: Any, olga: Any, make: Any) -> None:
    """D01, D15: by id of another's container, of another egg, of nothing."""
    egg = version()
    hers, his = make("hers", egg=egg)[0], make("his", user=bob, egg=egg)[0]
    other, _ = make("other", egg=import_egg(encoded(egg_file(name="Other")), filename="o.json").eggs[0])
    egg = version(**NEWER)
    assert roll(bob, egg, hers).status_code == 404
    assert roll(charlie, egg, hers).status_code == 403, "a viewer edits nothing: said before anything is looked at"
    assert roll(alice, egg, other).json()["code"] == "other_egg"
    assert roll(alice, egg, hers, version=9).status_code == 404
    assert client(alice).post(f"/api/eggs/{egg.pk}/rollouts", {"containers": [str(uuid4())]}, format="json").status_code == 404
    assert client(alice).post(f"/api/eggs/{egg.pk}/rollouts", {"containers": []}, format="json").status_code == 400
    both = roll(olga, egg, hers, his).json()
    assert {item["state"] for item in both["items"]} == {"applied"}
    assert [item["name"] for item in client(bob).get(f"/api/eggs/{egg.pk}/rollouts/{both['id']}").json()["items"]] == ["his"]
    assert client(bob).post(f"/api/eggs/{egg.pk}/rollouts/{both['id']}/revert").status_code == 404, "one of them is alice's"
    assert RolloutItem.objects.filter(state="reverted").count() == 0


WISHES = [{"kind": "bind", "value": "/var/run/docker.sock:/var/run/docker.sock"}]


def test_what_asks_for_the_machine_waits_for_an_administrator(alice: Any, olga: Any, root: Any, make: Any, agent: Any) -> None:
    """A03, A07: at creation, rollout, edit and start alike; the approval is the version's, and can be taken back."""
    from lormas.common.errors import Refused

    egg = version()
    container = started(agent, make("one", egg=egg)[0])
    egg = version(**NEWER, lormas={"privileges": WISHES})
    with pytest.raises(Refused) as refused:
        make("two", egg=egg)
    assert refused.value.code == "needs_approval"
    assert roll(alice, egg, container).json()["code"] == "needs_approval"
    approval = f"/api/eggs/{egg.pk}/versions/2/approval"
    for person in (alice, olga):
        assert client(person).post(approval).status_code == 403
    assert client(root).post(f"/api/eggs/{egg.pk}/versions/1/approval").json()["code"] == "nothing_to_approve"
    approved = client(root).post(approval).json()
    assert (approved["needs_approval"], approved["privileges"]) == (False, WISHES)
    entry = Entry.objects.get(action="eggs.approve")
    assert (entry.actor_label, entry.after["privileges"]) == (root.as_actor().label, WISHES)
    assert roll(alice, egg, container).status_code == 201
    act(container, "restart", user=alice, actor=alice.as_actor())
    container.refresh_from_db()
    assert container.spec["mounts"][1] == {"kind": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}
    agent.done(container, "running")
    assert client(root).delete(approval).json()["needs_approval"] is True
    with pytest.raises(Refused):
        act(container, "restart", user=alice, actor=alice.as_actor())
    assert client(alice).patch(f"/api/containers/{container.pk}", {"variables": {}}, format="json").status_code in (200, 422)
    egg = version(**{**NEWER, "startup": "./third"}, lormas={"privileges": WISHES})
    approve_version(egg.versions.get(number=2), user=root, actor=root.as_actor())
    assert egg.versions.get(number=3).needs_approval, "an approval counts for one version only"
