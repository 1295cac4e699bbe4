"""Moving a container to another node: the phases, and every way back. Both agents are played by settling commands; see tests/e2e/test_moving.py for
real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from agent.protocol.messages import ContainerReport, ErrorInfo
from containers.models import Container, Migration, Port
from containers.services import NewContainer, PortWish, act, create_container, delete_container, migrate, migrate_steps, update_container
from containers.services.observe import observe
from lormas.common import clock
from lormas.common.errors import Conflict, Locked, Refused
from nodes import commands, operations
from nodes.models import Command, Node, Operation
from nodes.services import register_node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]

CAPABLE = ["move", "fence"]


@pytest.fixture
def other(node: Node) -> Node:
    from audit.services import SYSTEM

    made, _ = register_node(name="node-2", actor=SYSTEM)
    same = {name: getattr(node, name) for name in ("status", "cpu_cores", "total_memory_bytes", "total_storage_bytes", "gateway", "runtime_kind")}
    Node.objects.filter(pk=made.pk).update(**same, port_first=31000, port_last=31009, last_heartbeat=clock.now(), ip_address="127.0.0.1")
    Node.objects.update(capabilities=CAPABLE)
    made.refresh_from_db()
    return made


@pytest.fixture
def web(alice: Any, node: Node, other: Node, agent: Any) -> Container:
    """Runs on node-1 with a folder and a port."""
    wish = NewContainer(
        name="web", image="busybox", mounts=[{"kind": "data", "target": "/data"}], ports=[PortWish(80)], node=Node.objects.get(pk=node.pk)
    )
    container, _ = create_container(user=alice, actor=alice.as_actor(), data=wish)
    agent.done(container, "running", started_at="2026-01-01T00:00:00Z")
    return container


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Any:
    real = clock.now

    def ahead(seconds: float) -> None:
        from datetime import timedelta

        monkeypatch.setattr(clock, "now", lambda: real() + timedelta(seconds=seconds))

    return ahead


class Ends:
    """Both nodes."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.seq = 100

    def open(self) -> dict[str, Command]:
        found = Command.objects.filter(subject_id=self.container.pk, state__in=("queued", "sent", "acked")).select_related("node")
        return {command.kind: command for command in found}

    def settle(
        self, kind: str, *, ok: bool = True, state: str = "", data: dict[str, Any] | None = None, code: str = "engine_error", **seen: Any
    ) -> Command:
        command = self.open()[kind]
        if state:
            self.seq += 1
            report = ContainerReport(container_id=str(self.container.pk), state=state, seq=self.seq, epoch=command.epoch, **seen)  # type: ignore[arg-type]
            observe(command.node_id, report)
        commands.settle(command.pk, ok=ok, data=data or {}, error=None if ok else ErrorInfo(code=code, detail="It did not work."))
        return command

    def row(self) -> Container:
        found: Container = Container.objects.select_related("node", "operation").get(pk=self.container.pk)
        return found

    def move(self) -> Migration:
        found: Migration = Migration.objects.latest("created_at")
        return found

    def digests(self, one: str = "a", other: str = "a") -> None:
        for command in Command.objects.filter(kind="container.digest", state="queued").select_related("node"):
            commands.settle(command.pk, ok=True, data={"digest": one if command.node.name == "node-1" else other})

    def until(self, phase: str, *, between: Callable[[], object] = lambda: None) -> None:
        """As far as this phase; `between` is called before each step."""
        for step in ("prepare", "snapshot", "copy", "verify", "cut_over", "release"):
            if step == phase:
                break
            between()
            match step:
                case "prepare":
                    self.settle("container.receive", data={"free_bytes": 10**12})
                case "snapshot":
                    self.settle("container.stop", state="exited", exit_code=143)
                case "copy":
                    migrate_steps.carried(self.move().pk, done=7)
                case "verify":
                    self.digests()
                case "cut_over":
                    self.settle("container.create", state="running", started_at="2026-01-02T00:00:00Z")
        assert self.move().phase == phase


def begin(container: Container, user: Any, **fields: Any) -> tuple[Ends, Operation]:
    operation = migrate.migrate(container, user=user, actor=user.as_actor(), **fields)
    return Ends(container), operation


def held() -> dict[str, set[int]]:
    """Ports by node."""
    found: dict[str, set[int]] = {}
    for port in Port.objects.select_related("node"):
        found.setdefault(port.node.name, set()).add(port.host_port)
    return found


def taken(*, node: str) -> tuple[int, float]:
    row = Node.objects.get(name=node)
    return row.current_pods, row.allocated_cpus


def test_a_move_goes_through_its_phases_and_gives_nothing_up_before_the_new_one_runs(web: Container, alice: Any, now: Any) -> None:
    """R38"""
    ends, operation = begin(web, alice, reason="New disks")
    assert ends.row().status == "migrating" and ends.row().node.name == "node-1"
    assert held() == {"node-1": {30000}, "node-2": {31000}}, "a port waits for it there"
    assert (taken(node="node-1")[0], taken(node="node-2")[0]) == (1, 1)
    assert ends.open()["container.receive"].node.name == "node-2"
    assert ends.row().observed == "running", "it runs while the new node gets ready"
    ends.until("copy")
    assert migrate_steps.progressed(ends.move().pk, done=5, total=10, message="half")
    operation.refresh_from_db()
    assert (operation.status, operation.message) == ("running", "half") and 10 < operation.progress < 70
    migrate_steps.carried(ends.move().pk, done=10)
    assert ends.row().node.name == "node-1" and ends.row().epoch == 1
    ends.digests()
    moved = ends.row()
    assert (moved.node.name, moved.epoch, moved.ports.get().host_port, moved.desired) == ("node-2", 2, 31000, "running")
    assert held() == {"node-1": {30000}, "node-2": {31000}}, "the old port is kept for the way back"
    asked = ends.open()
    assert (asked["container.fence"].node.name, asked["container.fence"].epoch) == ("node-1", 1)
    assert (asked["container.create"].node.name, asked["container.create"].epoch) == ("node-2", 2)
    assert "container.remove" not in asked
    ends.settle("container.create", state="running", started_at="2026-01-02T00:00:00Z")
    assert "container.remove" not in ends.open(), "not before it has run for a moment"
    now(5)
    migrate_steps.advance_all()
    done = ends.row()
    operation.refresh_from_db()
    assert (operation.status, operation.progress, done.status, done.operation_id) == ("succeeded", 100, "running", None)
    assert held() == {"node-2": {31000}} and (taken(node="node-1"), taken(node="node-2")[0]) == ((0, 0.0), 1)
    removed = ends.settle("container.remove")
    assert (removed.node.name, removed.epoch) == ("node-1", 1)
    assert ends.move().phase == "done" and Container.objects.filter(pk=web.pk).exists(), "it is not forgotten with its old copy"


@pytest.mark.parametrize("phase", ["prepare", "snapshot", "copy", "verify"])
def test_it_can_be_called_off_until_the_new_node_counts(web: Container, alice: Any, phase: str) -> None:
    """R38: back where it was, started again, and the new node is told to forget."""
    ends, operation = begin(web, alice)
    ends.until(phase)
    answer = client_of(alice).post(f"/api/operations/{operation.pk}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled"), answer.content
    row = ends.row()
    assert (row.node.name, row.epoch, row.desired, ends.move().phase) == ("node-1", 1, "running", "returned")
    assert held() == {"node-1": {30000}} and taken(node="node-2") == (0, 0.0)
    assert ends.open()["container.remove"].node.name == "node-2" and ends.open()["container.remove"].epoch == 2
    if phase in ("prepare", "snapshot"):  # it was never stopped
        assert "container.start" not in ends.open() and row.status == "running"
    else:
        assert ends.open()["container.start"].node.name == "node-1" and row.status == "starting"
        ends.settle("container.start", state="running")
        assert ends.row().status == "running"
    ends.settle("container.remove")
    assert Container.objects.filter(pk=web.pk).exists(), "the copy that was given up is not the container"


def test_called_off_while_it_stops_it_is_started_only_behind_the_stop(web: Container, alice: Any) -> None:
    ends, operation = begin(web, alice)
    ends.until("snapshot")
    commands.mark_sent([ends.open()["container.stop"].pk])
    operations.cancel(operation, actor=alice.as_actor(), reason="No.")
    assert ends.move().phase == "snapshot" and "container.start" not in ends.open()
    ends.settle("container.stop", state="exited", exit_code=143)
    operation.refresh_from_db()
    assert (operation.status, ends.move().phase) == ("cancelled", "returned")
    assert ends.open()["container.start"].node.name == "node-1"


def test_past_that_point_it_can_not_be_called_off(web: Container, alice: Any) -> None:
    ends, operation = begin(web, alice)
    ends.until("cut_over")
    with pytest.raises(Conflict) as refused:
        operations.cancel(operation, actor=alice.as_actor())
    assert refused.value.code == "too_late"
    operation.refresh_from_db()
    assert operation.status == "running"


def test_a_session_keeps_its_place_while_it_is_moved(web: Container, alice: Any, bob: Any, settings: Any) -> None:
    """It is stopped for the copy, and nobody asked for that: the only place is its own on the way there, and on the way back."""
    settings.MAX_SESSIONS = 1
    Container.objects.update(is_session=True)
    ends, _ = begin(web, alice)

    def rival() -> str:
        try:
            create_container(user=bob, actor=bob.as_actor(), data=NewContainer(name="rival", image="busybox", is_session=True, node=web.node))
        except Refused as refusal:
            return refusal.code
        return ""

    told: list[str] = []
    ends.until("cut_over", between=lambda: told.append(rival()))
    assert told == ["too_many_sessions"] * 4
    assert rival() == "too_many_sessions"
    commands.mark_sent([ends.open()["container.create"].pk])
    ends.settle("container.create", ok=False, code="port_taken")
    assert (ends.move().phase, rival()) == ("going_back", "too_many_sessions")
    ends.settle("container.remove")
    assert (ends.row().desired, rival()) == ("running", "too_many_sessions")


def test_what_does_not_start_on_the_new_node_comes_back_once_that_node_confirms_that_nothing_is_left(web: Container, alice: Any) -> None:
    """R38: never two running: the old one is started only behind the confirmation."""
    ends, operation = begin(web, alice)
    ends.until("cut_over")
    commands.mark_sent([ends.open()["container.create"].pk])
    ends.settle("container.create", ok=False, code="port_taken")
    assert ends.move().phase == "going_back"
    asked = ends.open()
    assert asked["container.remove"].node.name == "node-2" and "container.start" not in asked
    ends.settle("container.remove", ok=False, code="engine_down")
    assert ends.move().phase == "going_back" and ends.open()["container.remove"].node.name == "node-2", "asked until it is confirmed"
    ends.settle("container.remove")
    row = ends.row()
    operation.refresh_from_db()
    assert (row.node.name, row.epoch, row.ports.get().host_port, row.desired) == ("node-1", 3, 30000, "running")
    assert (operation.status, operation.error_code) == ("failed", "port_taken") and "node-2" in operation.error_detail
    assert held() == {"node-1": {30000}} and taken(node="node-2") == (0, 0.0)
    started = ends.open()["container.start"]
    assert (started.node.name, started.epoch) == ("node-1", 3)


def test_a_create_that_was_never_sent_needs_no_confirmation(web: Container, alice: Any) -> None:
    ends, _ = begin(web, alice)
    ends.until("cut_over")
    create = ends.open()["container.create"]
    commands.settle(create.pk, ok=False, error=ErrorInfo(code="expired", detail="The node was not connected in time."))
    assert ends.move().phase in ("returned", "going_back")


def test_a_program_that_ends_at_once_on_the_new_node_comes_back(web: Container, alice: Any) -> None:
    ends, _ = begin(web, alice)
    ends.until("cut_over")
    ends.settle("container.create", state="exited", exit_code=3)
    assert (ends.move().phase, ends.move().error_code) == ("going_back", "does_not_run")


def test_copies_that_differ_are_made_once_more_and_then_given_up(web: Container, alice: Any) -> None:
    """R38: what is not the same is never started."""
    ends, operation = begin(web, alice)
    ends.until("verify")
    ends.digests("a", "b")
    assert (ends.move().phase, ends.move().copies) == ("copy", 1)
    migrate_steps.carried(ends.move().pk, done=7)
    ends.digests("a", "b")
    operation.refresh_from_db()
    assert (ends.move().phase, operation.error_code, ends.row().node.name) == ("returned", "copies_differ", "node-1")


@pytest.mark.parametrize(("phase", "kind"), [("prepare", "container.receive"), ("snapshot", "container.stop"), ("verify", "container.digest")])
def test_what_fails_on_the_way_leaves_it_where_it_was(web: Container, alice: Any, phase: str, kind: str) -> None:
    ends, operation = begin(web, alice)
    ends.until(phase)
    ends.settle(kind, ok=False, code="disk_full")
    operation.refresh_from_db()
    assert (ends.move().phase, operation.status, operation.error_code) == ("returned", "failed", "disk_full")
    assert ends.row().node.name == "node-1" and ends.row().operation_id != operation.pk


@pytest.mark.parametrize("phase", ["prepare", "snapshot", "copy", "verify"])
def test_a_node_that_is_away_for_too_long_ends_the_move(web: Container, alice: Any, now: Any, phase: str) -> None:
    """R38, R54"""
    ends, operation = begin(web, alice)
    ends.until(phase)
    Node.objects.filter(name="node-1" if phase == "snapshot" else "node-2").update(status="INACTIVE", gateway="")
    now(60)
    migrate_steps.advance_all()
    assert ends.move().phase == phase, "a short absence is waited for"
    now(migrate_steps.STALL_SECONDS + 1)
    migrate_steps.advance_all()
    operation.refresh_from_db()
    assert (ends.move().phase, operation.error_code) == ("returned", "stalled")
    assert ends.row().node.name == "node-1" and ends.row().desired == "running"


def test_what_is_stopped_arrives_stopped(web: Container, alice: Any, agent: Any) -> None:
    act(web, "stop", user=alice, actor=alice.as_actor())
    agent.done(web, "exited", exit_code=143)
    ends, operation = begin(ends_container(web), alice)
    ends.until("cut_over")
    ends.settle("container.create", state="created")
    operation.refresh_from_db()
    assert (operation.status, ends.row().status, ends.row().desired, ends.row().node.name) == ("succeeded", "stopped", "stopped", "node-2")


def ends_container(web: Container) -> Container:
    return Container.objects.select_related("node", "operation").get(pk=web.pk)


def test_nothing_else_is_done_to_it_meanwhile(web: Container, alice: Any) -> None:
    """A kill or delete can't overtake a move: two nodes are in it."""
    ends, _ = begin(web, alice)
    fresh = ends_container(web)
    for act_on in (
        lambda: act(fresh, "kill", user=alice, actor=alice.as_actor()),
        lambda: delete_container(fresh, user=alice, actor=alice.as_actor()),
        lambda: delete_container(fresh, user=alice, actor=alice.as_actor(), force=True),
        lambda: update_container(fresh, user=alice, actor=alice.as_actor(), changes={"description": "x"}),
        lambda: migrate.migrate(fresh, user=alice, actor=alice.as_actor()),
    ):
        with pytest.raises(Locked):
            act_on()
    assert ends.move().phase == "prepare"


def test_placement_says_why_each_other_node_can_not_take_it(web: Container, other: Node, alice: Any) -> None:
    Node.objects.filter(pk=other.pk).update(capabilities=["fence"])
    with pytest.raises(Refused) as refused:
        migrate.migrate(web, user=alice, actor=alice.as_actor())
    assert refused.value.code == "no_placement" and "take files in" in refused.value.detail
    Node.objects.filter(pk=other.pk).update(capabilities=CAPABLE, is_schedulable=False)
    with pytest.raises(Refused) as refused:
        migrate.migrate(web, user=alice, actor=alice.as_actor(), to=Node.objects.get(pk=other.pk))
    assert "not schedulable" in refused.value.detail
    with pytest.raises(Conflict) as same:
        migrate.migrate(web, user=alice, actor=alice.as_actor(), to=web.node)
    assert same.value.code == "same_node"
    assert not Migration.objects.exists() and held() == {"node-1": {30000}}


def test_epochs_never_come_twice(web: Container, alice: Any) -> None:
    """What an earlier try left on the new node can't end what a later one makes there."""
    ends, operation = begin(web, alice)
    operations.cancel(operation, actor=alice.as_actor())
    stale = ends.open()["container.remove"]
    begin(ends_container(web), alice)
    assert ends.open()["container.receive"].epoch > stale.epoch > web.epoch


def client_of(user: Any) -> APIClient:
    made = APIClient()
    made.force_authenticate(user)
    return made


def test_the_api_says_before_what_a_move_would_do_and_then_does_it(
    web: Container, other: Node, olga: Any, bob: Any, alice: Any, settings: Any
) -> None:
    address = f"/api/containers/{web.pk}/migrate"
    Container.objects.filter(pk=web.pk).update(stats={"disk_bytes": 300_000_000})
    plan = client_of(olga).get(address).json()
    assert (plan["goes_to"], plan["has_files"], plan["bytes"], plan["ports"], plan["running"]) == ("node-2", True, 300_000_000, ["30000/tcp"], None)
    assert 20 < plan["stops_for_seconds"] < 60 and plan["candidates"][0]["why"]
    settings.COPY_BYTES_PER_SECOND *= 10
    assert client_of(olga).get(address).json()["stops_for_seconds"] < plan["stops_for_seconds"] - 10, "as fast as its links are said to be"
    assert client_of(alice).get(address).status_code == 403, "owners don't choose nodes, unless they may"
    assert client_of(bob).get(address).status_code == 404
    assert client_of(olga).post(address, {"node": str(web.node_id)}).status_code == 409
    assert client_of(olga).post(address, {"nowhere": 1}).status_code == 400
    answer = client_of(olga).post(address, {"node": str(other.pk), "reason": "New disks"})
    assert answer.status_code == 202 and answer.json()["operation"]["kind"] == "container.migrate", answer.content
    assert client_of(olga).get(address).json()["running"]["phase"] == "prepare"
    assert client_of(olga).post(address).status_code == 423
    assert client_of(alice).post(f"/api/containers/{web.pk}/stop").status_code == 423


def test_the_page_says_what_happens_and_why_it_is_where_it_is(web: Container, client: Any, olga: Any, alice: Any) -> None:
    address = f"/containers/{web.pk}/move"
    client.force_login(alice)
    assert client.get(address).status_code == 403
    client.force_login(olga)
    page = client.get(address).content.decode()
    assert "Why here" in page and "the emptiest comes first" in page and "stopped for about" in page and "30000/tcp" in page
    assert "Another node was asked for." in page, "why not there, as it was when it was placed"
    assert client.post(address, {"node": ""}).status_code == 302
    page = client.get(address).content.decode()
    assert "On its way from node-1 to node-2" in page and "Call it off" in page
    assert "Moving" in client.get(f"/containers/{web.pk}").content.decode()


def test_a_drain_moves_what_has_files(web: Container, node: Node, olga: Any) -> None:
    from nodes import drains

    [held_there] = drains.plan(Node.objects.get(pk=node.pk))
    assert (held_there.act, held_there.goes_to) == ("move", "node-2")
    operation = drains.drain(Node.objects.get(pk=node.pk), user=olga, actor=olga.as_actor())
    drains.advance_all()
    ends = Ends(web)
    assert ends.move().phase == "prepare"
    ends.until("cut_over")
    drains.advance_all()
    operation.refresh_from_db()
    assert operation.status == "running"


def test_an_old_copy_is_told_and_removed_only_when_somebody_asks(web: Container, node: Node, other: Node, olga: Any) -> None:
    from containers.models import LeftCopy

    migrate_steps.leave(web, other, epoch=7, reason="It was lost.")
    with pytest.raises(Refused) as refused:
        migrate.migrate(web, user=olga, actor=olga.as_actor())
    assert "old copy" in refused.value.detail
    address = f"/api/nodes/{other.pk}/left-copies"
    [row] = client_of(olga).get(address).json()
    assert (row["name"], row["reason"]) == ("web", "It was lost.")
    assert client_of(olga).delete(f"{address}/{row['id']}").status_code == 202
    assert client_of(olga).delete(f"{address}/{row['id']}").status_code == 409
    ends = Ends(web)
    removed = ends.settle("container.remove")
    assert (removed.node_id, removed.epoch) == (other.pk, 7)
    assert not LeftCopy.objects.exists() and Container.objects.filter(pk=web.pk).exists()
