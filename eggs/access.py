"""The doors to eggs."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import QuerySet

from accounts.access import has, require
from eggs.models import Egg
from lormas.common.errors import NotFound


def visible_eggs(user: Any) -> QuerySet[Egg]:
    """All eggs, to those who may see eggs."""
    eggs = Egg.objects.select_related("current")
    return eggs if has(user, "eggs.view") else eggs.none()


def get_egg(user: Any, egg_id: uuid.UUID | str, capability: str = "eggs.view") -> Egg:
    """One egg. Raises NotFound, Forbidden."""
    try:
        egg = visible_eggs(user).get(pk=uuid.UUID(str(egg_id)))
    except (ValueError, Egg.DoesNotExist):
        raise NotFound(f"There is no egg {egg_id}, or it is not yours to see.") from None
    require(user, capability)
    return egg
