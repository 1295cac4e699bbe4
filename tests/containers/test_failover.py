"""What becomes of containers whose node is lost, by policy. Agents are played; see tests/e2e/test_failover.py for real ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agent.protocol.messages import ContainerReport
from audit.models import Entry
from containers.models import Container, LeftCopy
from containers.services import NewContainer, PortWish, create_container, failover
from containers.services.observe import observe, welcome_back
from lormas.common import clock
from nodes import clusters, commands
from nodes.models import Cluster, Command, Node
from nodes.services import move_status, register_node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture
def cluster(node: Node) -> Cluster:
    from audit.services import SYSTEM

    made = clusters.create_cluster(actor=SYSTEM, name="eu", failover="restart_empty")
    other, _ = register_node(name="node-2", actor=SYSTEM)
    same = {name: getattr(node, name) for name in ("status", "cpu_cores", "total_memory_bytes", "total_storage_bytes", "gateway", "runtime_kind")}
    Node.objects.filter(pk=other.pk).update(**same, port_first=31000, port_last=31009, last_heartbeat=clock.now())
    Node.objects.update(cluster=made, lease_seconds=300, capabilities=["move", "fence"])
    return made


@pytest.fixture
def web(alice: Any, node: Node, cluster: Cluster, agent: Any) -> Container:
    wish = NewContainer(
        name="web", image="busybox", mounts=[{"kind": "data", "target": "/data"}], ports=[PortWish(80)], node=Node.objects.get(pk=node.pk)
    )
    container, _ = create_container(user=alice, actor=alice.as_actor(), data=wish)
    agent.done(container, "running", started_at="2026-01-01T00:00:00Z")
    return container


def lose(node: Node, *, seconds: float = 700, **changes: Any) -> Node:
    row = Node.objects.get(pk=node.pk)
    assert move_status(row, to="INACTIVE", reason="Nothing heard.")
    Node.objects.filter(pk=node.pk).update(gateway="", last_heartbeat=clock.now() - timedelta(seconds=seconds), **changes)
    return Node.objects.get(pk=node.pk)


def fresh(container: Container) -> Container:
    found: Container = Container.objects.select_related("node").get(pk=container.pk)
    return found


def test_after_the_whole_time_it_is_made_anew_elsewhere_under_a_higher_epoch(web: Container, node: Node) -> None:
    """R39"""
    lose(node, seconds=500)
    assert failover.sweep() == 0, "the lost node has 600 s in which it may still come back"
    lost = lose_more(node)
    assert failover.sweep() == 1
    row = fresh(web)
    assert row.node is not None and (row.node.name, row.epoch, row.status, row.ports.get().host_port) == ("node-2", 2, "creating", 31000)
    command = Command.objects.filter(subject_id=web.pk).latest("created_at")
    assert (command.kind, command.epoch, command.node.name) == ("container.create", 2, "node-2")
    assert LeftCopy.objects.get().node_id == lost.pk
    assert Node.objects.get(pk=lost.pk).current_pods == 0
    assert failover.sweep() == 0, "once"
    entry = Entry.objects.filter(action="containers.failover").get()
    assert "empty folders" in entry.message and "node-2" in entry.message
    # the lost node is back, and still runs it
    old = ContainerReport(container_id=str(web.pk), state="running", seq=999, epoch=1)
    assert welcome_back(Node.objects.get(pk=lost.pk), [old], complete=True) == [str(web.pk)], "stop this before anything else"
    assert not observe(lost.pk, old)
    assert fresh(web).status == "creating"


def lose_more(node: Node) -> Node:
    Node.objects.filter(pk=node.pk).update(last_heartbeat=clock.now() - timedelta(seconds=700))
    return Node.objects.get(pk=node.pk)


@pytest.mark.parametrize(
    "changes",
    [
        {"lease_seconds": 0},  # its agent was never told to stop by itself
        {"gateway": "somewhere"},  # a socket is open
    ],
    ids=["no lease", "connected"],
)
def test_what_may_still_run_is_never_made_anew(web: Container, node: Node, changes: dict[str, Any]) -> None:
    """R39: stateful is never replaced without a fence."""
    lose(node)
    Node.objects.filter(pk=node.pk).update(**changes)
    assert failover.sweep() == 0
    assert fresh(web).node_id == node.pk


def test_never_means_that_it_waits(web: Container, node: Node, cluster: Cluster) -> None:
    Cluster.objects.update(failover="never")
    lose(node)
    assert failover.sweep() == 0
    assert (fresh(web).status, fresh(web).node_id) == ("unknown", node.pk)


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"placement": {"movable": False}}, "set not to move"), ({"mounts": [{"kind": "bind", "target": "/x", "source": "/y"}]}, "its machine")],
    ids=["not movable", "host mounts"],
)
def test_what_is_tied_to_its_machine_waits_and_says_so_once(web: Container, node: Node, changes: dict[str, Any], why: str) -> None:
    Container.objects.filter(pk=web.pk).update(**changes)
    lose(node)
    assert (failover.sweep(), failover.sweep()) == (0, 0)
    assert why in fresh(web).status_reason
    assert Entry.objects.filter(action="containers.failover_waits").count() == 1


def test_without_room_elsewhere_it_waits_and_says_why(web: Container, node: Node) -> None:
    Node.objects.filter(name="node-2").update(is_schedulable=False)
    lose(node)
    assert failover.sweep() == 0
    assert "not schedulable" in fresh(web).status_reason
    Node.objects.filter(name="node-2").update(is_schedulable=True)
    assert failover.sweep() == 1


def test_restore_backup_without_a_good_backup_waits(web: Container, node: Node, cluster: Cluster) -> None:
    Cluster.objects.update(failover="restore_backup")
    lose(node)
    assert failover.sweep() == 0
    assert "no good" in fresh(web).status_reason


def test_restore_backup_makes_it_anew_and_brings_its_files_before_it_starts(web: Container, node: Node, cluster: Cluster) -> None:
    """R46: the last good one; never started on an empty folder."""
    from containers.models import Backup, BackupDestination, BackupWork

    Cluster.objects.update(failover="restore_backup")
    store = BackupDestination.objects.create(name="here", kind="local", config={"folder": "/nowhere"})
    backup = Backup.objects.create(container=web, container_name="web", destination=store, key="k", state="good", name="nightly")
    lose(node)
    assert failover.sweep() == 1
    create = Command.objects.filter(subject_id=web.pk, kind="container.create").latest("created_at")
    assert commands.payload_of(create)["start"] is False
    assert failover.sweep() == 0 and not BackupWork.objects.exists(), "not before it is there"
    report = ContainerReport(container_id=str(web.pk), state="created", seq=1, epoch=2)
    observe(create.node_id, report)
    commands.settle(create.pk, ok=True, data={}, report=report)
    failover.sweep()
    work = BackupWork.objects.get()
    assert (work.backup_id, work.kind, work.options) == (backup.pk, "restore", {"start": True})
    assert "restore" not in fresh(web).placed
    failover.sweep()
    assert BackupWork.objects.count() == 1, "once"


def test_what_was_stopped_stays_with_its_node(web: Container, node: Node) -> None:
    Container.objects.filter(pk=web.pk).update(desired="stopped")
    lose(node)
    assert failover.sweep() == 0
