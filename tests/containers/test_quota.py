"""Nobody makes more than is theirs: a quota of the role, or one's own, counted where it is taken (SECURITY J01, J08)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from accounts import inviting, people, quotas, roles
from accounts.models import Quota, User
from accounts.quotas import Allowance
from containers.models import Container
from containers.services import NewContainer, create_container, delete_container, purge_container, restore_container, update_container
from containers.services.duplicate import duplicate
from containers.services.quotas import DRILL, standing_of
from containers.spec import Asked
from lormas.common.errors import Conflict, Problem, Refused
from nodes import commands

GIB = 1024**3


def allow(person: Any, **most: Any) -> None:
    Quota.objects.update_or_create(user=person, defaults=most)


def short(problem: Any) -> dict[str, tuple[Any, Any, Any]]:
    return {one["resource"]: (one["used"], one["allowed"], one["asked"]) for one in problem.extra["quota"]}


@pytest.mark.django_db(transaction=True)
def test_a_quota_of_2_lets_30_at_once_have_2(alice: Any, node: Any) -> None:
    """J01: thirty creates at the same moment, each in a thread and a connection of its own; on PostgreSQL and SQLite."""
    allow(alice, containers=2)
    type(node).objects.filter(pk=node.pk).update(cpu_cores=100, total_memory_bytes=100 * GIB)
    gate = threading.Barrier(30)

    def one(number: int) -> str:
        try:
            gate.wait(60)
            data = NewContainer(name=f"c-{number}", image="busybox:stable")
            create_container(user=User.objects.get(pk=alice.pk), actor=alice.as_actor(), data=data)
        except Problem as problem:
            return problem.code
        finally:
            connections.close_all()
        return "made"

    with ThreadPoolExecutor(30) as pool:
        said = list(pool.map(one, range(30)))
    assert sorted(said) == ["made"] * 2 + ["quota"] * 28
    assert Container.objects.filter(owner=alice).count() == 2


def test_what_is_over_is_refused_with_what_is_used_allowed_and_asked(alice: Any, alice_api: Any, node: Any) -> None:
    """J08: by the API, 422; nothing is made, and the node has promised nothing."""
    allow(alice, containers=5, cpus=2, memory_bytes=GIB, disk_bytes=10 * GIB)
    said = alice_api.post("/api/containers", {"name": "a", "image": "busybox", "limits": {"cpus": 1.5, "disk_bytes": GIB}}, format="json")
    assert said.status_code == 201, said.content
    node.refresh_from_db()
    promised = (node.allocated_cpus, node.allocated_memory_bytes, node.allocated_storage_bytes)
    said = alice_api.post(
        "/api/containers", {"name": "b", "image": "busybox", "limits": {"cpus": 1, "memory_bytes": GIB, "disk_bytes": 10 * GIB}}, format="json"
    )
    told = said.json()
    assert (said.status_code, told["code"], told["rule"]) == (422, "quota", "quota")
    assert told["quota"] == [
        {"resource": "cpus", "used": 1.5, "allowed": 2.0, "asked": 1.0},
        {"resource": "memory_bytes", "used": GIB // 2, "allowed": GIB, "asked": GIB},
        {"resource": "disk_bytes", "used": GIB, "allowed": 10 * GIB, "asked": 10 * GIB},
    ]
    assert [error["field"] for error in told["errors"]] == ["limits.cpus", "limits.memory_bytes", "limits.disk_bytes"]
    assert told["detail"] == "Your quota is 2 cores: 1.5 cores are in use, 0.5 cores are left, and this asks for 1 core."
    node.refresh_from_db()
    assert (node.allocated_cpus, node.allocated_memory_bytes, node.allocated_storage_bytes) == promised
    assert Container.objects.count() == 1


def test_the_trash_counts_until_it_is_gone_for_good_and_drills_never(alice: Any, make: Any, agent: Any) -> None:
    """J08: making and deleting in a circle makes no more than the quota; what comes back from the trash was never away."""
    allow(alice, containers=1)
    made, _ = make("web")
    agent.done(made, "running")
    delete_container(made, user=alice, actor=alice.as_actor())
    with pytest.raises(Refused) as refused:
        make("other")
    assert short(refused.value) == {"containers": (1, 1, 1)}
    agent.done(made, "exited")
    assert restore_container(made, actor=alice.as_actor()).deleted_at is None
    Container.objects.filter(pk=made.pk).update(labels={DRILL: "x"})
    other, _ = make("other")
    Container.objects.filter(pk=made.pk).update(labels={})
    agent.done(other, "running")
    purge_container(other, user=alice, actor=alice.as_actor())
    assert standing_of(alice.pk)["containers"] == {"used": 2, "allowed": 1}, "its node has not said that it is gone"
    commands.settle(agent.open_command(other).pk, ok=True)
    assert standing_of(alice.pk)["containers"] == {"used": 1, "allowed": 1}


def test_changed_limits_and_duplicates_are_held_to_it_and_less_is_always_allowed(alice: Any, olga: Any, running: Any) -> None:
    allow(alice, cpus=1.5, memory_bytes=GIB, disk_bytes=4 * GIB)

    def change(user: Any = alice, **limits: Any) -> Container:
        return update_container(running, user=user, actor=user.as_actor(), changes=limits)[0]

    with pytest.raises(Refused) as refused:
        change(cpus=2, memory_bytes=2 * GIB)
    assert short(refused.value) == {"cpus": (0, 1.5, 2), "memory_bytes": (0, GIB, 2 * GIB)}
    running.refresh_from_db()
    assert running.cpus == 1
    with pytest.raises(Refused, match="Alice's quota"):  # the owner's counts, whoever changes it
        change(olga, cpus=2)
    assert change(cpus=1.5, disk_bytes=4 * GIB).cpus == 1.5
    with pytest.raises(Refused, match="give this one a limit"):
        change(disk_bytes=0)
    with pytest.raises(Refused) as refused:
        duplicate(running, user=alice, actor=alice.as_actor())
    assert set(short(refused.value)) == {"cpus", "disk_bytes"}
    allow(alice, cpus=0.5, memory_bytes=GIB, disk_bytes=GIB)  # lowered below what is there: nothing is taken away
    assert change(cpus=1).cpus == 1
    with pytest.raises(Refused):
        change(cpus=1.1)


def test_who_names_no_disk_gets_the_usual_one_where_the_quota_limits_it(alice: Any, make: Any, settings: Any) -> None:
    assert make("before")[0].disk_bytes == 0
    allow(alice, disk_bytes=5 * GIB)
    made, _ = make("after")
    assert made.disk_bytes == made.spec["limits"]["disk_bytes"] == settings.CONTAINER_DISK_LIMIT == 4 * GIB
    with pytest.raises(Refused) as refused:
        make("more")
    assert short(refused.value) == {"disk_bytes": (4 * GIB, 5 * GIB, 4 * GIB)}
    assert make("small", asked=Asked(disk_bytes=GIB))[0].disk_bytes == GIB
    settings.CONTAINER_DISK_LIMIT = 0
    with pytest.raises(Refused, match="give this one a limit"):
        make("none")


def test_their_own_goes_before_the_roles_and_administrators_have_none(alice: Any, bob: Any, root: Any) -> None:
    Quota.objects.create(role=alice.role, containers=3, cpus=4)
    assert quotas.allowance_of(alice.pk) == quotas.allowance_of(bob.pk) == Allowance(containers=3, cpus=4)
    people.update_person(root, bob.pk, changes={"quota": Allowance(containers=9)}, actor=root.as_actor())
    assert quotas.allowance_of(bob.pk) == Allowance(containers=9)
    people.update_person(root, bob.pk, changes={"quota": None}, actor=root.as_actor())
    assert quotas.allowance_of(bob.pk) == Allowance(containers=3, cpus=4)
    Quota.objects.create(role=root.role, containers=0)
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    assert not quotas.allowance_of(root.pk).is_limited
    assert not quotas.allowance_of(alice.pk).is_limited
    with pytest.raises(Conflict, match="no quota"):
        roles.update_role(User.objects.get(pk=alice.pk), root.role_id, changes={"quota": Allowance(containers=1)}, actor=root.as_actor())


def test_nobody_raises_their_own_nor_gives_more_than_they_have(alice: Any, bob: Any, root: Any, olga: Any) -> None:
    """D08: also not by the role, which for oneself is out of reach."""
    manager = roles.create_role(
        root, name="Manager", capabilities=[*alice.role.capabilities, "users.view", "users.manage", "roles.manage"],
        quota=Allowance(containers=10, cpus=4), actor=root.as_actor(),
    )  # fmt: skip
    people.update_person(root, olga.pk, changes={"role": manager.slug}, actor=root.as_actor())
    mia = User.objects.select_related("role").get(pk=olga.pk)

    def refused(act: Any, *args: Any, **kwargs: Any) -> str:
        with pytest.raises(Problem) as problem:
            act(mia, *args, actor=mia.as_actor(), **kwargs)
        return problem.value.code

    give = people.update_person
    assert refused(give, mia.pk, changes={"quota": Allowance(containers=99)}) == "own_account"
    assert refused(roles.update_role, manager.pk, changes={"quota": None}) == "own_role"
    assert refused(give, bob.pk, changes={"quota": Allowance(containers=11, cpus=1)}) == "quota_not_held"
    assert refused(give, bob.pk, changes={"quota": Allowance(containers=1)}) == "quota_not_held", "cores without a limit"
    assert refused(roles.update_role, bob.role_id, changes={"quota": Allowance()}) == "quota_not_held"
    wide = roles.create_role(root, name="Wide", capabilities=["containers.view"], quota=Allowance(containers=11), actor=root.as_actor())
    assert refused(give, bob.pk, changes={"role": wide.slug}) == "quota_not_held"
    assert refused(people.create_person, email="w@example.org", role=wide.slug) == "quota_not_held"
    assert refused(inviting.invite, email="w@example.org", role=wide.slug) == "quota_not_held"
    roles.update_role(root, wide.pk, changes={"quota": Allowance(containers=10, cpus=4)}, actor=root.as_actor())
    give(mia, bob.pk, changes={"role": wide.slug}, actor=mia.as_actor())
    assert refused(give, root.pk, changes={"quota": Allowance(containers=1, cpus=1)}) == "higher_rights"
    give(mia, bob.pk, changes={"quota": Allowance(containers=10, cpus=4)}, actor=mia.as_actor())
    assert quotas.allowance_of(bob.pk) == Allowance(containers=10, cpus=4)


def test_of_a_built_in_role_the_quota_alone_can_be_changed_by_the_api(alice: Any, root_api: Any, bob_api: Any, roles: Any) -> None:
    from audit.models import Entry

    role = f"/api/roles/{roles['member'].pk}"
    mine = {"containers": 7, "cpus": 2.5, "memory_bytes": None, "disk_bytes": None}
    assert root_api.patch(role, {"quota": mine}, format="json").json()["quota"] == mine
    assert Entry.objects.filter(action="accounts.role_update").latest("id").after == {"quota": mine}
    assert root_api.patch(role, {"quota": mine, "name": "X"}, format="json").status_code == 409
    assert root_api.patch(role, {"quota": {"containers": -1}}, format="json").json()["errors"][0]["field"] == "quota.containers"
    assert bob_api.patch(role, {"quota": None}, format="json").status_code == 403
    person = f"/api/users/{alice.pk}"
    shown = root_api.get(person).json()
    assert (shown["quota"], shown["effective_quota"]) == (None, mine)
    shown = root_api.patch(person, {"quota": {"cpus": 1}}, format="json").json()
    assert shown["quota"] == shown["effective_quota"] == {"containers": None, "cpus": 1.0, "memory_bytes": None, "disk_bytes": None}
    assert root_api.patch(person, {"quota": None}, format="json").json()["effective_quota"] == mine
    assert root_api.patch(role, {"quota": None}, format="json").json()["quota"] is None


def test_a_container_has_64_labels_and_512_variables_at_most(alice_api: Any, node: Any) -> None:
    """J08: names have bounds too: length, letters, number."""

    def said(**fields: Any) -> Any:
        answer = alice_api.post("/api/containers", {"name": "a", "image": "busybox", **fields}, format="json")
        return answer.status_code, answer.json().get("errors", [{}])[0].get("field")

    assert said(labels={f"k{n}": "v" for n in range(65)}) == (400, "labels")
    assert said(labels={"k" * 129: "v"}) == (400, "labels")
    assert said(labels={"k": "v" * 1025})[0] == 400
    assert said(env={f"K{n}": "v" for n in range(513)}) == (400, "env")
    assert said(name="n" * 65) == (400, "name")
    assert said(labels={f"k{n}": "v" for n in range(64)}, env={f"K{n}": "v" for n in range(512)})[0] == 201


def test_pages_show_it_and_set_it(alice: Any, bob: Any, root: Any, make: Any, client: Any) -> None:
    """One's own on the profile and beside the form of a new container; others' for who sees accounts; set on the role's and the person's page."""
    make("web", asked=Asked(disk_bytes=GIB))
    client.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    assert "no limit" in client.get(f"/containers/quota/{alice.pk}").content.decode()
    assert client.get(f"/containers/quota/{bob.pk}").status_code == 403
    assert f"/containers/quota/{alice.pk}" in client.get("/profile").content.decode()
    client.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    role, person = f"/roles/{alice.role_id}", f"/users/{alice.pk}"
    wrong = client.post(role, {"quota": "1", "quota-containers": "-1"})
    assert (wrong.status_code, Quota.objects.count()) == (400, 0)
    assert client.post(role, {"quota": "1", "quota-containers": "3", "quota-cpus": "2"}).status_code == 302
    assert quotas.allowance_of(bob.pk) == Allowance(containers=3, cpus=2)
    assert client.post(person, {"quota": "1", "quota-own": "on", "quota-containers": "2", "quota-disk": "1.5"}).status_code == 302
    assert quotas.allowance_of(alice.pk) == Allowance(containers=2, disk_bytes=3 * GIB // 2)
    assert 'value="1.5"' in client.get(person).content.decode()
    assert "1.00\u202fGiB of 1.50\u202fGiB" in client.get(f"/containers/quota/{alice.pk}").content.decode()
    client.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    form = client.get("/containers/new?source=image").content.decode()
    assert "1 left of 2" in form
    assert "512\u202fMiB left of 1.50\u202fGiB" in form
    said = client.post(
        "/containers/new", {"source": "image", "image": "busybox", "name": "b", "cpus": "1", "memory": "64", "disk": "1", "start": "1"}
    )
    assert (said.status_code, "Your quota is 1.50 GiB of disk" in said.content.decode().replace("&#x27;", "'")) == (422, True)
    client.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    assert client.post(person, {"quota": "1"}).status_code == 302
    assert quotas.allowance_of(alice.pk) == Allowance(containers=3, cpus=2)
    assert client.post(role, {"quota": "1"}).status_code == 302
    assert not quotas.allowance_of(alice.pk).is_limited


def test_used_and_allowed_are_told_by_the_api(alice: Any, alice_api: Any, root_api: Any, running: Any) -> None:
    allow(alice, cpus=2)
    told = {
        "containers": {"used": 1, "allowed": None}, "cpus": {"used": 1.0, "allowed": 2.0},
        "memory_bytes": {"used": GIB // 2, "allowed": None}, "disk_bytes": {"used": 0, "allowed": None},
    }  # fmt: skip
    assert alice_api.get("/api/containers/quota").json() == told
    assert root_api.get(f"/api/containers/quota?owner={alice.pk}").json() == told
    assert root_api.get("/api/containers/quota").json()["containers"] == {"used": 0, "allowed": None}
    assert alice_api.get(f"/api/containers/quota?owner={alice.role_id}").status_code == 403
    assert root_api.get(f"/api/containers/quota?owner={alice.role_id}").status_code == 404
    assert root_api.get("/api/containers/quota?owner=x").status_code == 400
