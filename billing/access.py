"""The door to usage: who sees a container sees what it used; hours of what is gone are their owner's; `billing.view_any` sees all."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from accounts.access import has, require
from billing.models import UsageHour
from containers.access import get_container
from lormas.common.errors import NotFound


def visible_hours(user: Any, container_id: UUID | None = None) -> QuerySet[UsageHour]:
    """Hours that this person may see, of one container or of all.

    Raises:
        Forbidden: by a key without `containers.view`. NotFound: there is no such container and no hour of one, or they are not this person's to see.
    """
    if getattr(user, "api_key", None) is not None:
        require(user, "containers.view")
    hours = UsageHour.objects.all()
    own = hours if has(user, "billing.view_any") else hours.filter(owner_id=user.pk)
    if container_id is None:
        return own
    if _sees(user, container_id):
        return hours.filter(container_id=container_id)
    own = own.filter(container_id=container_id)
    if not own.exists():
        raise NotFound(f"There is no usage of a container {container_id}, or it is not yours to see.")
    return own


def _sees(user: Any, container_id: UUID) -> bool:
    for trash in (False, True):
        try:
            get_container(user, container_id, trash=trash)
        except NotFound:
            continue
        return True
    return False
