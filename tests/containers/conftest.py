"""A node that is up, without an agent: tests here play the agent by settling commands and reporting facts."""

from __future__ import annotations

from typing import Any

import pytest

from agent.protocol.messages import ContainerReport, ErrorInfo
from audit.services import SYSTEM
from containers.models import Container
from containers.services import NewContainer, create_container
from lormas.common import clock
from nodes import commands
from nodes.models import Command, Node, Operation
from nodes.services import register_node


@pytest.fixture
def node(db: None) -> Node:
    """4 cores, 8 GiB, ports 30000-30009, active now."""
    made, _ = register_node(name="node-1", actor=SYSTEM)
    Node.objects.filter(pk=made.pk).update(
        status="ACTIVE",
        cpu_cores=4,
        total_memory_bytes=8 * 1024**3,
        total_storage_bytes=100 * 1024**3,
        port_first=30000,
        port_last=30009,
        last_heartbeat=clock.now(),
        gateway="test",
        runtime_kind="docker",
        ip_address="127.0.0.1",
    )
    made.refresh_from_db()
    return made


class PlayedAgent:
    """Answers commands as a node would."""

    def __init__(self) -> None:
        self.seq = 0

    def open_command(self, container: Any, kind: str | None = None) -> Command:
        found = Command.objects.filter(subject_id=container.pk, state__in=("queued", "sent", "acked"))
        return (found.filter(kind=kind) if kind else found).latest("sequence")

    def report(self, container: Any, state: str, **fields: Any) -> ContainerReport:
        self.seq += 1
        return ContainerReport(container_id=str(container.pk), state=state, seq=self.seq, epoch=container.epoch, **fields)  # type: ignore[arg-type]

    def done(self, container: Any, state: str, *, data: dict[str, Any] | None = None, **fields: Any) -> Command:
        """The command has worked: its fact, then its result."""
        from containers.services.observe import observe

        command = self.open_command(container)
        report = self.report(container, state, cause="command", **fields)
        observe(command.node_id, report)
        commands.settle(command.pk, ok=True, data=data or {"runtime_ref": "x"}, report=report)
        container.refresh_from_db()
        return command

    def failed(self, container: Any, code: str, detail: str = "it did not work") -> Command:
        command = self.open_command(container)
        commands.settle(command.pk, ok=False, error=ErrorInfo(code=code, detail=detail))
        return command


@pytest.fixture
def agent() -> PlayedAgent:
    return PlayedAgent()


@pytest.fixture
def make(alice: Any, node: Node) -> Any:
    """`make("web", ...)` -> (container, operation), owned by alice."""

    def create(name: str = "web", *, user: Any = None, **fields: Any) -> tuple[Container, Operation]:
        person = user or alice
        return create_container(user=person, actor=person.as_actor(), data=NewContainer(name=name, **{"image": "busybox:stable", **fields}))

    return create


@pytest.fixture
def running(make: Any, agent: PlayedAgent) -> Container:
    """alice's container `web`, running."""
    container, _ = make("web")
    agent.done(container, "running", started_at="2026-01-01T00:00:00Z")
    return container  # type: ignore[no-any-return]


def _api(user: Any) -> Any:
    from rest_framework.test import APIClient

    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def alice_api(alice: Any) -> Any:
    return _api(alice)


@pytest.fixture
def bob_api(bob: Any) -> Any:
    return _api(bob)


@pytest.fixture
def root_api(root: Any) -> Any:
    return _api(root)
