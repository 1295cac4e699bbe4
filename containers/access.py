"""The doors to containers: unseen is 404, seen but not allowed is 403."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from functools import cache
from typing import Any

from accounts import grants
from accounts.access import has, require
from accounts.grants import Kind
from accounts.models import User
from containers.models import Container, ContainerRoleGrant, ContainerUserGrant
from containers.querysets import ContainerQuerySet
from lormas.common.errors import NotFound

PERMISSIONS = (
    "containers.view",
    "containers.start",
    "containers.stop",
    "containers.logs",
    "containers.console",
    "containers.exec",
    "containers.files",
    "containers.backups",
    "containers.restore",
    "containers.schedules",
    "containers.edit",
    "containers.delete",
    "containers.grant",
)
"""What can be granted on a container."""


@cache
def grant_kind() -> Kind:
    return Kind(
        name="container",
        model=Container,
        people=ContainerUserGrant,
        roles=ContainerRoleGrant,
        permissions=PERMISSIONS,
        manage="containers.grant",
        get=get_container,
        standing=lambda user, container: container.owner_id == user.pk or has(user, "containers.any"),
        url="containers:detail",
        template="containers/_base.html",
        frame=_frame,
    )


def _frame(user: Any, container: Any) -> dict[str, Any]:
    from containers.views import frame

    return frame(user, container, "access")


def visible_containers(user: Any, *, trash: bool = False) -> ContainerQuerySet:
    """All that this person may see, as a query; used by pages, API, sockets and tasks alike (D03): one's own, what was granted, or all."""
    containers: ContainerQuerySet = Container.objects.trashed() if trash else Container.objects.alive()
    sees = has(user, "containers.view")
    if sees and has(user, "containers.any"):
        return containers
    granted = grants.granted_ids(grant_kind(), user) if grants.holds_any(grant_kind(), user) else None
    if granted is None:
        return containers.filter(owner=user) if sees else containers.none()
    if not sees:
        return containers.filter(pk__in=granted)
    # One subquery, not an OR: either side is then looked up by its own index, however many containers there are.
    return containers.filter(pk__in=Container.objects.order_by().filter(owner=user).values_list("pk").union(granted, all=True))


def get_container(user: Any, container_id: uuid.UUID | str, capability: str = "containers.view", *, trash: bool = False) -> Container:
    """One container for one purpose.

    Raises:
        NotFound: there is none, or it is not this person's to see. Forbidden: they see it, but lack the capability.
    """
    try:
        key = uuid.UUID(str(container_id))
        container: Container = visible_containers(user, trash=trash).for_list().get(pk=key)
    except (ValueError, Container.DoesNotExist):
        raise NotFound(f"There is no container {container_id}, or it is not yours to see.") from None
    if capability != "containers.view":
        grants.require(grant_kind(), user, container, capability)
    return container


def quota_owner(user: Any, owner_id: uuid.UUID | None) -> uuid.UUID:
    """Whose quota may be looked at; None: one's own.

    Raises:
        Forbidden: another's, without `users.view`; by a key without `containers.view`. NotFound: there is no such account.
    """
    if getattr(user, "api_key", None) is not None:
        require(user, "containers.view")
    own: uuid.UUID = user.pk
    if owner_id is None or owner_id == own:
        return own
    require(user, "users.view")
    if not User.objects.filter(pk=owner_id).exists():
        raise NotFound("There is no such account.")
    return owner_id


def rights(user: Any, container: Container) -> frozenset[str]:
    """What this person may do with it: for buttons and tabs."""
    return grants.rights(grant_kind(), user, container)


def rights_on(user: Any, containers: Iterable[Container]) -> dict[uuid.UUID, frozenset[str]]:
    """The same for the rows of a list, in a constant number of queries."""
    return grants.rights_on(grant_kind(), user, containers)
