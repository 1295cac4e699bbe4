"""Creating a container: all or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from audit.models import Entry
from containers.models import Container, Port
from containers.services import PortWish
from containers.spec import Asked
from lormas.common.errors import Conflict, NodeUnavailable, Refused
from nodes.models import Command, Node, Operation

pytestmark = pytest.mark.django_db


def nothing_left(node: Node) -> None:
    """No row, port, command or promise of capacity stays behind a refusal."""
    node.refresh_from_db()
    assert Container.objects.count() == 0
    assert Port.objects.count() == 0
    assert Command.objects.count() == 0
    assert (node.current_pods, node.allocated_cpus, node.allocated_memory_bytes) == (0, 0, 0)


def test_a_container_is_placed_promised_capacity_and_asked_of_its_node(make: Any, node: Node, agent: Any) -> None:
    container, operation = make("web", ports=[PortWish(8080)], asked=Asked(cpus=0.5, memory_bytes=64 * 1024**2))
    node.refresh_from_db()
    agent.open_command(container, "container.create")
    assert (container.status, container.desired, container.node_id) == ("creating", "running", node.pk)
    assert (node.current_pods, node.allocated_cpus, node.allocated_memory_bytes) == (1, 0.5, 64 * 1024**2)
    assert container.spec["ports"][0]["container_port"] == 8080
    assert 30000 <= container.spec["ports"][0]["host_port"] <= 30009
    assert Entry.objects.filter(action="containers.create", target_id=str(container.pk), actor_label="Alice").exists()

    agent.done(container, "running")
    operation.refresh_from_db()
    assert (container.status, operation.status, container.operation_id) == ("running", "succeeded", None)


@pytest.mark.parametrize("code", ["no_such_image", "pull_failed", "invalid_spec"])
def test_an_image_that_does_not_exist_leaves_nothing_but_the_operation_that_says_why(make: Any, node: Node, agent: Any, code: str) -> None:
    container, operation = make("web", ports=[PortWish(8080)], image="no/such:image")
    command = agent.failed(container, code, "The registry has no such image.")
    operation.refresh_from_db()
    assert (operation.status, operation.error_code, operation.error_detail) == ("failed", code, "The registry has no such image.")
    Command.objects.filter(pk=command.pk).delete()
    nothing_left(node)


def test_a_container_that_was_made_but_did_not_start_stays_and_says_why(make: Any, agent: Any) -> None:
    container, operation = make("web", command=["/no/such/program"])
    agent.failed(container, "start_failed", "No such file: /no/such/program")
    container.refresh_from_db()
    operation.refresh_from_db()
    assert (container.status, container.status_reason, operation.status) == ("failed", "No such file: /no/such/program", "failed")
    assert container.desired == "stopped"


def test_the_same_name_twice_is_refused_for_one_owner_and_fine_for_two(make: Any, bob: Any) -> None:
    make("web")
    with pytest.raises(Conflict) as refusal:
        make("web")
    assert refusal.value.code == "name_taken"
    make("web", user=bob)
    assert Container.objects.count() == 2


def test_a_port_outside_the_range_or_taken_is_refused_and_leaves_nothing(make: Any, node: Node) -> None:
    """A12: host ports come from the node's range only."""
    for host in (22, 29999, 30010):
        with pytest.raises(Refused) as refusal:
            make("web", ports=[PortWish(80, host)], node=node)
        assert refusal.value.code == "port_out_of_range"
        with pytest.raises(Refused):
            make("web", ports=[PortWish(80, host)])
    nothing_left(node)
    make("first", ports=[PortWish(80, 30005)])
    with pytest.raises(Conflict) as taken:
        make("second", ports=[PortWish(80, 30005)], node=node)
    assert taken.value.code == "port_taken"
    make("third", ports=[PortWish(80, 30005, "udp")])
    assert not Container.objects.filter(name="second").exists()


def test_the_range_can_be_used_up_and_then_says_so(make: Any, node: Node) -> None:
    for index in range(10):
        make(f"c{index}", ports=[PortWish(80)], asked=Asked(cpus=0.1, memory_bytes=16 * 1024**2))
    assert Port.objects.values_list("host_port", flat=True).distinct().count() == 10
    with pytest.raises(Refused) as refusal:
        make("c10", ports=[PortWish(80)], asked=Asked(cpus=0.1, memory_bytes=16 * 1024**2))
    assert "port" in refusal.value.detail
    assert not Container.objects.filter(name="c10").exists()


def test_a_limit_over_the_capacity_names_the_reason_of_every_node(make: Any, node: Node) -> None:
    with pytest.raises(Refused) as refusal:
        make("big", asked=Asked(cpus=64))
    assert refusal.value.code == "no_placement"
    assert refusal.value.extra["rejected"][0]["node"] == "node-1"
    assert refusal.value.extra["rejected"][0]["rule"] == "cpu"
    nothing_left(node)
    assert Operation.objects.count() == 0


def test_an_offline_node_is_refused_with_since_when(make: Any, node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(status="INACTIVE", status_reason="No heartbeat.", gateway="")
    node.refresh_from_db()
    with pytest.raises(NodeUnavailable) as refusal:
        make("web", node=node)
    assert "since" in refusal.value.detail
    with pytest.raises(Refused):
        make("web")
    nothing_left(node)


def test_the_last_slot_is_given_once(make: Any, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rival takes the capacity between ranking and claim: the conditional UPDATE refuses the second."""
    from containers.services import create

    real = create.claim

    def rival_first(node_id: Any, **share: Any) -> bool:
        Node.objects.filter(pk=node_id).update(current_pods=110)
        return real(node_id, **share)

    monkeypatch.setattr(create, "claim", rival_first)
    with pytest.raises(Refused):
        make("late")
    assert not Container.objects.exists()
