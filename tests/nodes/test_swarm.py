"""Doors to a swarm behind a cluster, with managers played over the real bus; the real swarm is in tests/e2e/test_swarm.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from agent.protocol import swarm as kinds
from agent.protocol.messages import ErrorInfo
from agent.runtimes.base import LABEL_INSTANCE, LABEL_OPERATION, RuntimeFailure
from agent.runtimes.docker import swarmspec
from agent.runtimes.fake import FakeRuntime
from agent.runtimes.policy import LimitDefaults
from agent.swarm import swarm_act
from audit.models import Entry
from lormas.common import live
from lormas.common.errors import Problem
from nodes import commands
from nodes.models import Cluster, Command, Node, Operation
from tests.console.puppet import Puppet

OURS, THEIRS, WORKER = "a" * 25, "b" * 25, "c" * 25


class Manager(Puppet):
    """Plays a manager's agent; `refuse` makes it refuse, `service` adds to what it says of our service."""

    refuse: tuple[str, str] | None = None
    node: Node

    def __init__(self, node_id: Any) -> None:
        super().__init__(node_id)
        self.asked: list[dict[str, Any]] = []

    async def _serve(self) -> None:
        import json

        tap = await live.hub().tap(f"node:{self.node_id}")
        self._ready.set()
        async for data in tap:
            question = {} if data == live.RESYNC else json.loads(data)
            if question.get("op") != "rpc":
                continue
            self.asked.append(question)
            if self.refuse:
                answer: dict[str, Any] = {"ok": False, "error": {"code": self.refuse[0], "detail": self.refuse[1]}}
            else:
                answer = {"ok": True, "data": self._answer(question)}
            await live.hub().reply(question["reply"], answer)

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        import msgspec

        if question["kind"] == "swarm.tasks":
            task = kinds.SwarmTask(id="t", slot=1, node_id=WORKER, node="w", state="failed", desired="running", error="no such image")
            return {"tasks": [msgspec.to_builtins(task)]}
        services = [
            kinds.SwarmService(
                id=OURS,
                name="web",
                image="nginx:1",
                mode="replicated",
                wanted=3,
                running=1,
                ours=True,
                env_names=["KEY"],
                ports=[kinds.SwarmPort(80, 8080)],
            ),
            kinds.SwarmService(id=THEIRS, name="theirs", image="x", mode="global", wanted=2, running=2, ours=False),
        ]
        nodes = [kinds.SwarmNode(id=WORKER, hostname="w-1", role="worker", availability="active", state="ready", tasks=1)]
        view = kinds.SwarmView(swarm_id="s-1", node_id="m", nodes=nodes, services=services)
        # without what has its default, as an agent's answer goes over the wire
        return {"swarm": msgspec.json.decode(msgspec.json.encode(view))}


@pytest.fixture
def cluster(transactional_db: None) -> Cluster:
    return Cluster.objects.create(name="eu", backend="swarm", swarm_id="s-1")


@pytest.fixture
def manager(cluster: Cluster, make_node: Callable[..., Any]) -> Iterator[Callable[..., Manager]]:
    made: list[Manager] = []

    def one(name: str, *, away: bool = False) -> Manager:
        node = make_node(
            name=name, gateway="" if away else "test", last_heartbeat="2100-01-01T00:00:00Z", cluster=cluster, capabilities=["swarm", "swarm_change"]
        )
        puppet = Manager(node.pk)
        puppet.node = node
        if not away:
            made.append(puppet.start())  # type: ignore[arg-type]
        return puppet

    yield one
    for puppet in made:
        puppet.stop()


pytestmark = pytest.mark.redis


@pytest.mark.django_db(transaction=True)
def test_services_are_read_and_changed_through_a_manager_and_foreign_ones_are_left_alone(
    cluster: Cluster, manager: Any, api: Any, olga: Any, alice: Any
) -> None:
    """A11: only what carries our label is changed. I04: the environment's values are in no journal row, operation or answer."""
    one = manager("m-1")
    base, client = f"/api/clusters/{cluster.pk}", api(olga)
    assert api(alice).get(f"{base}/services").status_code == 404
    assert [(i["name"], i["wanted"], i["running"], i["ours"]) for i in client.get(f"{base}/services").json()["items"]] == [
        ("web", 3, 1, True),
        ("theirs", 2, 2, False),
    ]
    assert one.asked[-1]["payload"] == {"swarm_id": "s-1"}, "the swarm that was chosen is meant, and no other"
    assert client.get(f"{base}/services/{OURS}/tasks").json()["items"][0]["error"] == "no such image"
    for method, path in (("patch", f"services/{THEIRS}"), ("delete", f"services/{THEIRS}")):
        answer = getattr(client, method)(f"{base}/{path}", {"replicas": 1} if method == "patch" else None)
        assert (answer.status_code, answer.json()["code"]) == (409, "foreign")
    for path, body, status, code in (
        ("services", {"name": "web", "image": "nginx:1"}, 409, "name_taken"),
        ("services", {"name": "-x", "image": "nginx:1"}, 422, "invalid_name"),
        ("services", {"name": "x", "image": "a b"}, 400, ""),
        ("services", {"name": "x", "image": "x", "replicas": 1001}, 400, ""),
        ("services", {"name": "x", "image": "x", "env": {"A=B": "c"}}, 400, ""),
        ("services", {"name": "x", "image": "x", "mounts": ["/:/host"]}, 400, ""),
        ("services", {"name": "x", "image": "x", "ports": [{"published_port": 1, "container_port": 1}] * 2}, 400, ""),
    ):
        answer = client.post(f"{base}/{path}", body)
        assert answer.status_code == status and code in str(answer.json()), answer.content
    same = {"replicas": 3, "env": {"NONE": None}, "ports": [{"published_port": 8080, "container_port": 80}]}
    assert client.patch(f"{base}/services/{OURS}", same).json()["code"] == "nothing_to_do"
    assert client.patch(f"{base}/services/{OURS}", {"env": {"A=B": "c"}}).status_code == 400
    assert client.patch(f"{base}/services/{'z' * 25}", {"replicas": 1}).status_code == 404
    assert client.patch(f"{base}/swarm/nodes/{WORKER}", {"availability": "off"}).status_code == 400
    assert not Command.objects.exists() and not Operation.objects.exists(), "what is refused leaves nothing"

    made = client.post(f"{base}/services", {"name": "db", "image": "pg:1", "env": {"PASSWORD": "s3cret-word"}})
    assert made.status_code == 202, made.content
    command = Command.objects.get(kind="node.swarm_create")
    assert commands.payload_of(command)["env"] == {"PASSWORD": "s3cret-word"}
    written = f"{command.payload} {made.json()} {[entry.after for entry in Entry.objects.all()]}"
    assert "s3cret-word" not in written and "PASSWORD" in written
    commands.settle(command.pk, ok=False, error=ErrorInfo(code="name_taken", detail="It was faster."))
    assert client.get(made.headers["Location"]).json()["error"] == {"code": "name_taken", "detail": "It was faster."}
    assert client.patch(f"{base}/swarm/nodes/{WORKER}", {"availability": "drain"}).status_code == 202
    changed = client.patch(f"{base}/services/{OURS}", {"env": {"KEY": None, "NEW": "s3cret-word"}, "ports": []})
    assert changed.status_code == 202, changed.content
    sent = commands.payload_of(Command.objects.get(kind="node.swarm_update"))
    assert (sent["env"], sent["ports"]) == ({"KEY": None, "NEW": "s3cret-word"}, [])
    entry = Entry.objects.get(action="clusters.service_update")
    assert entry.after["env"] == ["KEY removed", "NEW set"]
    assert "s3cret-word" not in f"{[command.payload for command in Command.objects.all()]} {changed.json()} {entry.after}"
    drained = commands.payload_of(Command.objects.get(kind="node.swarm_availability"))
    assert drained == {"swarm_id": "s-1", "node_id": WORKER, "availability": "drain"}


@pytest.mark.django_db(transaction=True)
def test_another_manager_answers_when_the_first_can_not(cluster: Cluster, manager: Any, api: Any, olga: Any) -> None:
    """R10: who is away is told with since when; a node of another swarm is asked for nothing there."""
    base, client = f"/api/clusters/{cluster.pk}", api(olga)
    none = client.get(f"{base}/services")
    assert (none.status_code, none.json()["code"]) == (409, "no_manager")
    first = manager("m-1", away=True)
    Cluster.objects.update(manager=first.node)
    away = client.get(f"{base}/services")
    assert (away.status_code, away.json()["code"]) == (503, "swarm_offline") and "m-1 is not connected since" in away.json()["detail"]
    assert client.post(f"{base}/services", {"name": "x", "image": "x"}).status_code == 503 and not Operation.objects.exists()
    second, third = manager("m-2"), manager("m-3")
    second.refuse = ("other_swarm", "This engine is in another swarm.")
    assert client.get(f"{base}/swarm").json()["manager"]["name"] == "m-3" and second.asked
    assert client.patch(f"{base}/services/{OURS}", {"replicas": 5}).status_code == 202
    assert Command.objects.get().node == third.node
    third.refuse = ("no_quorum", "Too few managers answer.")
    lost = client.get(f"{base}/services")
    assert lost.status_code == 503 and "Too few managers answer." in lost.json()["detail"]


@pytest.mark.django_db(transaction=True)
def test_pages_show_the_swarm_and_take_its_forms(cluster: Cluster, manager: Any, olga: Any, root: Any) -> None:
    one = manager("m-1")
    page = Client()
    page.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    home = f"/clusters/{cluster.pk}"
    shown = page.get(home).content.decode()
    assert "1 of 3 running" in shown and "not ours" in shown and "Its 1 task goes to other nodes." in shown
    assert "no such image" in page.get(f"{home}/services/{OURS}").content.decode()
    form = {
        "name": "db",
        "image": "pg:1",
        "mode": "replicated",
        "replicas": "2",
        "port_mode": "host",
        "env": "A=b=c\n\nD=",
        "ports": "8080:80 53:53/udp",
        "command": "sh -c 'a b'",
    }
    for field, value, word in (("env", "A", "NAME=value"), ("ports", "80", "8080:80"), ("command", "'", "quote"), ("name", "web", "already")):
        wrong = page.post(f"{home}/services/new", {**form, field: value})
        assert wrong.status_code == 400 and word in wrong.content.decode(), field
    assert page.post(f"{home}/services/new", {**form, "memory_mib": "64"}).status_code == 302
    sent = commands.payload_of(Command.objects.get())
    assert (
        "mode" not in sent
        and sent["env"] == {"A": "b=c", "D": ""}
        and sent["command"] == ["sh", "-c", "a b"]
        and sent["memory_bytes"] == 64 * 1024**2
    )
    assert [(p["published_port"], p["container_port"], p.get("protocol", "tcp")) for p in sent["ports"]] == [(8080, 80, "tcp"), (53, 53, "udp")]
    assert page.post(f"{home}/services/{OURS}/remove", {"name": "wrong"}).status_code == 400
    assert "The values of KEY are lost with it." in page.get(f"{home}/services/{OURS}/remove").content.decode()
    assert page.post(f"{home}/services/{OURS}/remove", {"name": "web"}).status_code == 302
    change = {"replicas": "4", "image": "nginx:1", "env": "-KEY\nA=b=c", "ports": "8080:80\n53:53/udp", "port_mode": "host"}
    assert page.post(f"{home}/services/{OURS}/change", change).status_code == 302
    wished = commands.payload_of(Command.objects.get(kind="node.swarm_update"))
    assert wished["env"] == {"KEY": None, "A": "b=c"} and [port["published_port"] for port in wished["ports"]] == [8080, 53]
    assert page.post(f"{home}/swarm/nodes/{WORKER}", {"availability": "drain"}).status_code == 302
    assert Command.objects.count() == 4
    one.refuse = ("no_quorum", "Too few managers answer.")
    assert "Too few managers answer." in page.get(home).content.decode(), "told in place, and the page is there"
    settings = page.get(f"{home}/edit").content.decode()
    assert "Docker Swarm" in settings and "Docker Swarm" not in page.get("/clusters/new").content.decode()


def test_a_service_is_built_by_an_allow_list_and_changed_without_losing_the_rest() -> None:
    """A01-A13: no mounts, no privileges, capabilities dropped, a limit of processes; its containers carry no label of ours."""
    wish = kinds.SwarmCreate(swarm_id="s", name="w", image="i", env={"A": "b"}, ports=[kinds.SwarmPort(80, 8080)])
    made = swarmspec.build(wish, instance="me", operation_id="op", defaults=LimitDefaults())
    holds = made["TaskTemplate"]["ContainerSpec"]
    assert set(holds) == {"Image", "Env", "CapabilityDrop", "Privileges"} and "CAP_NET_RAW" in holds["CapabilityDrop"]
    assert (made["Labels"][LABEL_INSTANCE], made["Labels"][LABEL_OPERATION]) == ("me", "op")
    assert made["TaskTemplate"]["Resources"] == {"Limits": {"Pids": 512}}
    changed = swarmspec.changed(made, kinds.SwarmUpdate(swarm_id="s", service_id="x", replicas=0, memory_bytes=64 * 1024**2, cpus=0))
    assert changed["Mode"] == {"Replicated": {"Replicas": 0}}
    assert changed["TaskTemplate"]["Resources"]["Limits"] == {"Pids": 512, "MemoryBytes": 64 * 1024**2}
    another = kinds.SwarmUpdate(swarm_id="s", service_id="x", env={"A": None, "B": "=", "C": ""}, ports=[])
    assert swarmspec.changed(made, another)["TaskTemplate"]["ContainerSpec"] == {**holds, "Env": ["B==", "C="]}
    assert swarmspec.changed(made, another)["EndpointSpec"] == {"Mode": "dnsrr", "Ports": []}
    assert changed["TaskTemplate"]["ContainerSpec"] == holds and made["Mode"] == {"Replicated": {"Replicas": 1}}
    with pytest.raises(RuntimeFailure) as refused:
        swarmspec.changed({"Mode": {"Global": {}}}, kinds.SwarmUpdate(swarm_id="s", service_id="x", replicas=2))
    assert refused.value.code == "invalid_spec"


@pytest.mark.django_db(transaction=True)
def test_an_older_agent_is_not_asked_for_what_it_would_leave_out(cluster: Cluster, manager: Any, api: Any, olga: Any) -> None:
    one = manager("m-1")
    Node.objects.filter(pk=one.node.pk).update(capabilities=["swarm"])
    base, client = f"/api/clusters/{cluster.pk}", api(olga)
    for method, path, body in (
        ("post", "services", {"name": "x", "image": "x", "mode": "global"}),
        ("patch", f"services/{OURS}", {"env": {"A": "b"}}),
        ("patch", f"services/{OURS}", {"ports": []}),
    ):
        answer = getattr(client, method)(f"{base}/{path}", body)
        assert (answer.status_code, answer.json()["code"]) == (422, "unsupported") and "upgrade it" in answer.json()["detail"]
    assert client.patch(f"{base}/services/{OURS}", {"replicas": 5}).status_code == 202


@pytest.mark.django_db(transaction=True)
def test_a_key_does_on_a_cluster_what_its_scopes_and_its_owner_may(cluster: Cluster, manager: Any, olga: Any, alice: Any, root: Any) -> None:
    """E19: the narrower of both counts, for each act."""
    from accounts import keys

    manager("m-1")
    base, change = f"/api/clusters/{cluster.pk}", {"replicas": 5}

    def client(user: Any, *scopes: str) -> Any:
        _, secret = keys.create_key(user, name="ci", scopes=scopes, actor=user.as_actor())
        made = APIClient()
        made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
        return made

    sees, manages, drains = client(root, "nodes.view"), client(root, "nodes.view", "clusters.manage"), client(root, "nodes.view", "nodes.drain")
    wish = {"availability": "drain"}
    for who, codes in ((sees, (200, 403, 403, 403, 403)), (manages, (200, 202, 403, 200, 204)), (drains, (200, 403, 202, 403, 403))):
        got = (
            who.get(f"{base}/services").status_code,
            who.patch(f"{base}/services/{OURS}", change, format="json").status_code,
            who.patch(f"{base}/swarm/nodes/{WORKER}", wish, format="json").status_code,
            who.patch(base, {"description": f"{codes}"}, format="json").status_code,
            who.delete(f"/api/clusters/{Cluster.objects.create(name=f'empty {codes}').pk}").status_code,
        )
        assert got == codes
    assert client(root, "clusters.manage").get(base).status_code == 404, "not even seen"
    with pytest.raises(Problem):
        client(alice, "clusters.manage")


async def test_a_runtime_without_a_swarm_says_so() -> None:
    with pytest.raises(RuntimeFailure) as refused:
        await swarm_act(FakeRuntime(), kinds.SwarmRemove(swarm_id="s", service_id="x"), operation_id="op")
    assert refused.value.code == "unsupported"
