"""Giving, changing and taking rights on single objects. Nobody gives what they lack, nor for longer than they have it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts import grants
from accounts.capabilities import CAPABILITIES
from accounts.grants import NEVER, Kind
from accounts.models import Role, User
from audit.services import SYSTEM, Actor, Target, record
from lormas.common import clock, live
from lormas.common.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, Refused
from lormas.common.ids import new_id

MAX_HOLDERS: Final = 500
"""Grants on one object; more people than that are a role."""
TOLD_AT_ONCE: Final = 200
"""People of a role whose sockets look again at once; those of the others do so within 5 s."""
_WORDS: Final = {capability.code: capability.may for capability in CAPABILITIES}


@dataclass(frozen=True, slots=True)
class Grant:
    """The rows of one grant, read together."""

    id: UUID
    kind: str
    object_id: UUID
    object_label: str
    user: User | None
    role: Role | None
    permissions: tuple[str, ...]
    expires_at: datetime | None
    reason: str
    granted_by: User | None
    created_at: datetime

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= clock.now()

    @property
    def holder(self) -> str:
        """What to call who holds it."""
        return self.user.label if self.user is not None else self.role.title if self.role is not None else "?"

    @property
    def sentences(self) -> list[str]:
        """What it lets its holder do, in the table's words."""
        return [_WORDS.get(code, code) for code in self.permissions]


def _permission(kind: Kind, code: str) -> Permission:
    """guardian's handle on a code; made with its first use."""
    owner = ContentType.objects.get_for_model(kind.model)
    return Permission.objects.get_or_create(content_type=owner, codename=code, defaults={"name": f"May {_WORDS.get(code, code)}"[:255]})[0]


def group_of(role: Role) -> Group:
    """The role's group; made with its first grant."""
    if role.group is None:
        role.group = Group.objects.get_or_create(name=f"role:{role.pk}")[0]
        Role.objects.filter(pk=role.pk).update(group=role.group)
    return role.group


def _read(kind: Kind, **filters: Any) -> list[Grant]:
    found: dict[UUID, Grant] = {}
    order = {code: position for position, code in enumerate(kind.permissions)}
    for table, holder in ((kind.people, "user"), (kind.roles, "group")):
        related = ("permission", "granted_by", "content_object", *(("user",) if holder == "user" else ("group__role",)))
        for row in table._default_manager.filter(**filters).select_related(*related).order_by("created_at", "pk"):
            known = found.get(row.grant_id)
            codes = {row.permission.codename, *(known.permissions if known else ())}
            found[row.grant_id] = Grant(
                id=row.grant_id,
                kind=kind.name,
                object_id=row.content_object_id,
                object_label=str(row.content_object),
                user=row.user if holder == "user" else None,
                role=getattr(row.group, "role", None) if holder == "group" else None,
                permissions=tuple(sorted(codes, key=lambda code: order.get(code, 99))),
                expires_at=row.expires_at,
                reason=row.reason,
                granted_by=row.granted_by,
                created_at=row.created_at,
            )
    return sorted(found.values(), key=lambda grant: grant.created_at)


def on(kind: Kind, one: Any) -> list[Grant]:
    """All grants on an object, oldest first; those that have ended stay until the next sweep."""
    return _read(kind, content_object=one)


def of_person(user: User) -> list[Grant]:
    """What a person holds on single objects, by themselves or by the role; what has ended is left out."""
    found: list[Grant] = []
    for kind in grants.kinds().values():
        found += [g for g in _read_people(kind, user) if not g.is_expired]
    return found


def _read_people(kind: Kind, user: User) -> list[Grant]:
    own = list(kind.people._default_manager.filter(user=user).values_list("grant_id", flat=True))
    group = user.role.group_id if user.role is not None else None
    if group is not None:
        own += list(kind.roles._default_manager.filter(group_id=group).values_list("grant_id", flat=True))
    return _read(kind, grant_id__in=set(own)) if own else []


def one(kind: Kind, target: Any, grant_id: UUID) -> Grant:
    """Raises NotFound."""
    found = _read(kind, content_object=target, grant_id=grant_id)
    if not found:
        raise NotFound("There is no such grant on this object.")
    return found[0]


def find_person(text: str) -> User:
    """By id, e-mail or username. Raises Refused."""
    wanted = text.strip()
    by_name = Q(email__iexact=wanted) | Q(username__iexact=wanted)
    try:
        by_name |= Q(pk=UUID(wanted))
    except ValueError:
        pass
    found = User.objects.select_related("role").filter(by_name, is_active=True).order_by("created_at").first()
    if found is None:
        raise Refused(f"There is no active account {wanted[:64]!r}.", errors=[FieldError("user", "There is no such active account.", "unknown")])
    return found


def _checked(by: User, kind: Kind, target: Any, permissions: Iterable[str], expires_at: datetime | None) -> list[str]:
    """The permissions with "may see it", in the table's order. Raises Invalid, Refused (past), Forbidden (codes capability_not_held,
    outlives_yours)."""
    wanted = {kind.view, *permissions}
    unknown = sorted(wanted - set(kind.permissions))
    if unknown:
        said = f"On a {kind.name} can be granted: {', '.join(kind.permissions)}."
        raise Invalid(said, errors=[FieldError("permissions", f"{code[:64]!r} is none of them.", "unknown") for code in unknown[:20]])
    if expires_at is not None and expires_at <= clock.now():
        raise Refused("The grant would be dead at once.", errors=[FieldError("expires_at", "It is in the past.", "past")])
    mine = grants.ends_on(kind, by, [target])[target.pk]
    lacking = sorted(wanted - mine.keys())
    if lacking:
        raise Forbidden(
            f"You can't grant what you lack: {', '.join(lacking)}.",
            code="capability_not_held",
            errors=[FieldError("permissions", f"You lack {code}.", "capability_not_held") for code in lacking],
            extra={"capabilities": lacking},
        )
    first = min(mine[code] for code in (*wanted, kind.manage) if code in mine)
    if first != NEVER and (expires_at or NEVER) > first:
        said = f"Your own right ends at {clock.rfc3339(first)}: grant it for no longer."
        raise Forbidden(said, code="outlives_yours", errors=[FieldError("expires_at", said, "outlives_yours")])
    return [code for code in kind.permissions if code in wanted]


def _target(kind: Kind, target: Any) -> Target:
    return Target(kind.name, str(target.pk), str(target)[:255])


def _facts(holder: User | Role, permissions: Sequence[str], expires_at: datetime | None, reason: str) -> dict[str, Any]:
    who = {"user": holder.label, "user_id": str(holder.pk)} if isinstance(holder, User) else {"role": holder.slug}
    return {**who, "permissions": list(permissions), "expires_at": clock.rfc3339(expires_at), "reason": reason}


def _tell(holder: User | Role) -> None:
    """Open sockets look again at once."""
    people = [holder.pk] if isinstance(holder, User) else User.objects.filter(role=holder, is_active=True).values_list("pk", flat=True)[:TOLD_AT_ONCE]
    for user_id in people:
        live.on_commit_publish(f"user:{user_id}", {"type": "rights_changed"})


def _insert(
    kind: Kind, target: Any, holder: User | Role, *, grant_id: UUID, codes: Sequence[str], by: User, made: datetime, expires_at: Any, reason: str
) -> None:
    table: Any = kind.people if isinstance(holder, User) else kind.roles
    who = {"user": holder} if isinstance(holder, User) else {"group": group_of(holder)}
    common = {"grant_id": grant_id, "expires_at": expires_at, "reason": reason, "granted_by": by, "created_at": made, "content_object": target, **who}
    table._default_manager.bulk_create([table(permission=_permission(kind, code), **common) for code in codes])


def give(
    by: User,
    kind: Kind,
    target: Any,
    *,
    user: User | None = None,
    role: Role | None = None,
    permissions: Iterable[str],
    expires_at: datetime | None = None,
    reason: str = "",
    actor: Actor,
) -> Grant:
    """One grant a holder and object. What had ended for this holder gives way.

    Raises:
        Invalid: no holder or two, an unknown permission. Refused: an end in the past. Forbidden: yourself (code own_grant), and see `_checked`.
        Conflict: this holder has one already (code grant_exists, its id in `grant`); too many.
    """
    holder: User | Role | None = user or role
    if holder is None or (user is not None and role is not None):
        raise Invalid("Name a user or a role.", errors=[FieldError("user", "Give either user or role.", "required")])
    if isinstance(holder, User) and holder.pk == by.pk:
        raise Forbidden("You can't grant to yourself.", code="own_grant", errors=[FieldError("user", "It is you.", "own_grant")])
    codes = _checked(by, kind, target, permissions, expires_at)
    grant_id = new_id()
    try:
        with transaction.atomic():
            kind.model._default_manager.select_for_update().get(pk=target.pk)
            known = [grant for grant in on(kind, target) if (grant.user or grant.role) == holder]
            alive = next((grant for grant in known if not grant.is_expired), None)
            if alive is not None:
                raise Conflict(f"{alive.holder} has a grant on this {kind.name} already: change that one.", code="grant_exists", extra=_id(alive))
            _remove(kind, [grant.id for grant in known])
            if kind.people._default_manager.filter(content_object=target).values("grant_id").distinct().count() >= MAX_HOLDERS:
                raise Conflict(f"There are {MAX_HOLDERS} grants on this {kind.name}: grant to a role instead.", code="too_many_grants")
            _insert(kind, target, holder, grant_id=grant_id, codes=codes, by=by, made=clock.now(), expires_at=expires_at, reason=reason)
            record("grants.give", actor=actor, target=_target(kind, target), after=_facts(holder, codes, expires_at, reason), message=reason)
            _tell(holder)
    except IntegrityError:
        raise Conflict("Somebody granted the same in this moment: look again.", code="grant_exists") from None
    return one(kind, target, grant_id)


def _id(grant: Grant) -> dict[str, Any]:
    return {"grant": str(grant.id)}


def _remove(kind: Kind, ids: Iterable[UUID]) -> None:
    wanted = list(ids)
    if wanted:
        kind.people._default_manager.filter(grant_id__in=wanted).delete()
        kind.roles._default_manager.filter(grant_id__in=wanted).delete()


def change(by: User, kind: Kind, target: Any, grant_id: UUID, *, changes: dict[str, Any], actor: Actor) -> Grant:
    """Change `permissions`, `expires_at`, `reason`; the whole must be yours to give. Raises NotFound, Invalid, Refused, Forbidden."""
    with transaction.atomic():
        kind.model._default_manager.select_for_update().get(pk=target.pk)
        known = one(kind, target, grant_id)
        holder = known.user or known.role
        if holder is None:
            raise NotFound("There is no such grant on this object.")
        if known.user is not None and known.user.pk == by.pk:
            raise Forbidden("It is your own grant: ask somebody else.", code="own_grant")
        wanted = {"permissions": known.permissions, "expires_at": known.expires_at, "reason": known.reason, **changes}
        codes = _checked(by, kind, target, wanted["permissions"], wanted["expires_at"])
        before = _facts(holder, known.permissions, known.expires_at, known.reason)
        after = _facts(holder, codes, wanted["expires_at"], wanted["reason"])
        if before != after:
            _remove(kind, [grant_id])
            _insert(
                kind,
                target,
                holder,
                grant_id=grant_id,
                codes=codes,
                by=by,
                made=known.created_at,
                expires_at=wanted["expires_at"],
                reason=wanted["reason"],
            )
            record("grants.change", actor=actor, target=_target(kind, target), before=before, after=after)
            _tell(holder)
    return one(kind, target, grant_id)


def take(kind: Kind, target: Any, grant_id: UUID, *, actor: Actor) -> None:
    """End a grant; open sockets that live by it end what they show within 5 s. Raises NotFound."""
    with transaction.atomic():
        known = one(kind, target, grant_id)
        _remove(kind, [grant_id])
        holder = known.user or known.role
        if holder is not None:
            before = _facts(holder, known.permissions, known.expires_at, known.reason)
            record("grants.take", actor=actor, target=_target(kind, target), before=before)
            _tell(holder)


def sweep_expired(*, limit: int = 500) -> int:
    """Remove the rows of grants that have ended, and write that they did; returns how many grants went."""
    gone = 0
    for kind in grants.kinds().values():
        now = clock.now()
        for table in (kind.people, kind.roles):
            ids = list(table._default_manager.filter(expires_at__lte=now).order_by().values_list("grant_id", flat=True).distinct()[:limit])
            for grant in _read(kind, grant_id__in=ids) if ids else []:
                holder = grant.user or grant.role
                with transaction.atomic():
                    rows = table._default_manager.filter(grant_id=grant.id, expires_at__lte=now)  # not one that was prolonged in this moment
                    if not rows.delete()[0] or holder is None:
                        continue
                    facts = _facts(holder, grant.permissions, grant.expires_at, grant.reason)
                    record("grants.expire", actor=SYSTEM, target=Target(kind.name, str(grant.object_id), grant.object_label[:255]), before=facts)
                    gone += 1
    return gone
