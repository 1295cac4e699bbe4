"""Hints to browsers that a container changed."""

from __future__ import annotations

from typing import Any, TypedDict

from audit.services import Target
from containers.models import Container
from lormas.common import clock, live


class ContainerHint(TypedDict):
    """What browsers get on topic `containers` (SURFACE section 6)."""

    type: str
    id: str
    name: str
    status: str
    status_reason: str
    status_since: str | None
    desired: str
    node: str | None
    owner: str
    operation: str | None
    started_at: str | None
    exit_code: int | None


def hint(container: Container) -> ContainerHint:
    """The message about one container."""
    return ContainerHint(
        type="container",
        id=str(container.pk),
        name=container.name,
        status=container.status,
        status_reason=container.status_reason,
        status_since=clock.rfc3339(container.status_since),
        desired=container.desired,
        node=str(container.node_id) if container.node_id else None,
        owner=str(container.owner_id),
        operation=str(container.operation_id) if container.operation_id else None,
        started_at=clock.rfc3339(container.started_at),
        exit_code=container.exit_code,
    )


def announce(container: Container) -> None:
    """After the commit, tell browsers."""
    message: dict[str, Any] = dict(hint(container))
    live.on_commit_publish("ui:containers", message)


def target(container: Container) -> Target:
    """The container as the journal names it."""
    return Target("container", str(container.pk), container.name)
