"""Rights on single objects: who holds which until when. Reading; `accounts.granting` writes.

A person's rights on an object are those of the role, where it counts for this object (what one owns, or everybody's with `<room>.any`), and those
that were granted to the person or the role and have not ended. An API key cuts both to its scopes. Ends are compared in every query, so a grant is
dead the second it expires, whether or not a sweep has removed its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from accounts.access import capabilities_of
from accounts.grant_models import RoleGrant, UserGrant
from lormas.common import clock
from lormas.common.errors import Forbidden
from lormas.common.wires import resolve, wired

NEVER: Final = datetime.max.replace(tzinfo=clock.now().tzinfo)
"""The end of a right that has none."""
Ends = dict[str, datetime]
"""Capability -> until when it is held."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be granted on one kind of object, and where it is kept. Each room has one in its `access` and names it in `lormas.wiring.GRANTS`."""

    name: str
    """As the journal and addresses call it: `container`."""
    model: type[Model]
    people: type[UserGrant]
    roles: type[RoleGrant]
    permissions: tuple[str, ...]
    """Codes that can be granted; the first one is "may see it", and is part of every grant."""
    manage: str
    """Who holds this on an object may grant on it."""
    get: Callable[..., Any]
    """The room's door: `get(user, id, capability)`."""
    standing: Callable[[Any, Any], bool]
    """Does the role of this person count for this object?"""
    url: str = ""
    """Name of the object's page, for links."""
    template: str = "grants/_plain.html"
    """The frame of the access and activity tabs; extends `base.html` and has a block `tab`."""
    frame: Callable[[Any, Any], dict[str, Any]] | None = None
    """(user, object) -> what that frame shows."""
    above: str = ""
    """A kind whose grants count for this one, too: a node's cluster."""
    above_id: str = ""
    """The attribute that holds its id."""

    @property
    def view(self) -> str:
        return self.permissions[0]


def kinds() -> dict[str, Kind]:
    """All of them, by name."""
    return {name: kind(name) for name in wired("GRANTS")}


def kind(name: str) -> Kind:
    """One of `lormas.wiring.GRANTS`."""
    found: Kind = resolve(wired("GRANTS")[name])()
    return found


def live() -> Q:
    """Rows whose end has not come."""
    return Q(expires_at=None) | Q(expires_at__gt=clock.now())


def _scope(user: Any, codes: Iterable[str]) -> set[str]:
    """Those of the codes that this person's API key lets through; none for somebody who is out."""
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return set()
    key = getattr(user, "api_key", None)
    return set(codes) if key is None else set(codes) & set(key.scopes)


def _group_id(user: Any) -> int | None:
    role = user.role
    return role.group_id if role is not None else None


def _rows(table: Kind, user: Any) -> list[QuerySet[Any]]:
    """The live rows that this person holds: own, and the role's."""
    found: list[QuerySet[Any]] = [table.people._default_manager.filter(live(), user=user)]
    group = _group_id(user)
    if group is not None:
        found.append(table.roles._default_manager.filter(live(), group_id=group))
    return found


def holds_any(table: Kind, user: Any) -> bool:
    """Does this person hold any live grant of this kind? Spares the list of everybody else the look at the grants."""
    if not _scope(user, table.permissions):
        return False
    return any(rows.exists() for rows in _rows(table, user))


def granted_ids(table: Kind, user: Any, code: str = "") -> QuerySet[Any] | None:
    """Ids of the objects on which `code` ("": seeing) was granted, as a subquery; None where there can be none."""
    code = code or table.view
    if not _scope(user, [code]):
        return None
    parts = [rows.order_by().filter(permission__codename=code).values_list("content_object_id") for rows in _rows(table, user)]
    return parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0]


def _granted(table: Kind, user: Any, ids: Iterable[UUID]) -> dict[UUID, Ends]:
    """What was granted on each of these, with the latest end; two queries whatever their number."""
    found: dict[UUID, Ends] = {}
    allowed = _scope(user, table.permissions)
    wanted = [one for one in ids if one is not None]
    if not wanted or not allowed:
        return found
    for rows in _rows(table, user):
        for object_id, code, end in rows.filter(content_object_id__in=wanted).values_list("content_object_id", "permission__codename", "expires_at"):
            if code in allowed:
                ends = found.setdefault(object_id, {})
                ends[code] = max(ends.get(code, end or NEVER), end or NEVER)
    return found


def ends_on(table: Kind, user: Any, objects: Iterable[Any]) -> dict[UUID, Ends]:
    """All rights of this person on each object (by id), and until when."""
    rows = list(objects)
    standing = dict.fromkeys(capabilities_of(user), NEVER)
    own = _granted(table, user, (row.pk for row in rows if not (standing.keys() >= set(table.permissions) and table.standing(user, row))))
    upper: dict[UUID, Ends] = {}
    if table.above:
        upper = _granted(kind(table.above), user, {getattr(row, table.above_id) for row in rows})
    found: dict[UUID, Ends] = {}
    for row in rows:
        ends: Ends = dict(standing) if table.standing(user, row) else {}
        for more in (own.get(row.pk, {}), upper.get(getattr(row, table.above_id), {}) if table.above else {}):
            for code, end in more.items():
                ends[code] = max(ends.get(code, end), end)
        found[row.pk] = ends
    return found


def rights_on(table: Kind, user: Any, objects: Iterable[Any]) -> dict[UUID, frozenset[str]]:
    """As `ends_on`, without the ends: for buttons and tabs."""
    return {object_id: frozenset(ends) for object_id, ends in ends_on(table, user, objects).items()}


def rights(table: Kind, user: Any, one: Any) -> frozenset[str]:
    """This person's rights on one object."""
    return rights_on(table, user, [one])[one.pk]


def require(table: Kind, user: Any, one: Any, capability: str) -> None:
    """For the room's door, after "may they see it?". Raises Forbidden."""
    if capability in rights(table, user, one):
        return
    if getattr(user, "api_key", None) is not None:
        said = f"This API key may not do that: {capability} is not in its scopes, or not yours on this {table.name}."
    elif table.standing(user, one):
        said = f"Your role does not include {capability}: ask an administrator."
    else:
        said = f"You may see this {table.name}, but {capability} was not granted to you: ask its owner or an administrator."
    raise Forbidden(said, extra={"capability": capability})


def next_end(table: Kind, user: Any, ids: Iterable[UUID]) -> datetime | None:
    """When the first of this person's grants on these objects ends: sockets look again at that second."""
    ends = [end for held in _granted(table, user, ids).values() for end in held.values() if end != NEVER]
    return min(ends, default=None)


def seen_until(table: Kind, user: Any, *, limit: int) -> dict[UUID, datetime]:
    """The objects of this kind that this person sees by a grant, and until when; two queries."""
    found: dict[UUID, datetime] = {}
    if not _scope(user, [table.view]):
        return found
    for rows in _rows(table, user):
        for object_id, end in rows.filter(permission__codename=table.view).values_list("content_object_id", "expires_at")[:limit]:
            found[object_id] = max(found.get(object_id, end or NEVER), end or NEVER)
    return found
