"""The doors to containers: unseen is 404, seen but not allowed is 403."""

from __future__ import annotations

import uuid
from typing import Any

from accounts.access import has, require
from containers.models import Container
from containers.querysets import ContainerQuerySet
from lormas.common.errors import NotFound


def visible_containers(user: Any, *, trash: bool = False) -> ContainerQuerySet:
    """All that this person may see, as a query; used by pages, API, sockets and tasks alike."""
    containers: ContainerQuerySet = Container.objects.trashed() if trash else Container.objects.alive()
    if not has(user, "containers.view"):
        return containers.none()
    if has(user, "containers.any"):
        return containers
    return containers.filter(owner=user)


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
    require(user, capability)
    return container
