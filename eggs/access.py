"""The doors to eggs."""

from __future__ import annotations

import uuid
from functools import cache
from typing import Any

from django.db.models import QuerySet

from accounts import grants
from accounts.access import has
from accounts.grants import Kind
from eggs.models import Egg, EggRoleGrant, EggUserGrant
from lormas.common.errors import NotFound


@cache
def grant_kind() -> Kind:
    return Kind(
        name="egg",
        model=Egg,
        people=EggUserGrant,
        roles=EggRoleGrant,
        permissions=("eggs.view", "eggs.manage"),
        manage="eggs.manage",
        get=get_egg,
        standing=lambda user, egg: True,
        url="eggs:detail",
    )


def visible_eggs(user: Any) -> QuerySet[Egg]:
    """All eggs, to those who may see eggs; to others those that were granted."""
    eggs = Egg.objects.select_related("current")
    if has(user, "eggs.view"):
        return eggs
    granted = grants.granted_ids(grant_kind(), user) if grants.holds_any(grant_kind(), user) else None
    return eggs.none() if granted is None else eggs.filter(pk__in=granted)


def sees_eggs(user: Any) -> bool:
    """Is there a reason to show this person the list of eggs?"""
    return has(user, "eggs.view") or grants.holds_any(grant_kind(), user)


def get_egg(user: Any, egg_id: uuid.UUID | str, capability: str = "eggs.view") -> Egg:
    """One egg. Raises NotFound, Forbidden."""
    try:
        egg = visible_eggs(user).get(pk=uuid.UUID(str(egg_id)))
    except (ValueError, Egg.DoesNotExist):
        raise NotFound(f"There is no egg {egg_id}, or it is not yours to see.") from None
    if capability != "eggs.view":
        grants.require(grant_kind(), user, egg, capability)
    return egg


def rights(user: Any, egg: Egg) -> frozenset[str]:
    """What this person may do with it."""
    return grants.rights(grant_kind(), user, egg)
