"""Roles that administrators make. The built-in ones come from the literal table and stay as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils.text import slugify

from accounts import quotas
from accounts.access import require
from accounts.capabilities import ADMINISTRATOR, CODES
from accounts.models import Role, User
from accounts.people import check_assignable
from audit.services import Actor, Target, record
from lormas.common import live
from lormas.common.errors import Conflict, FieldError, Forbidden, Invalid, NotFound

TOLD_AT_ONCE: Final = 500


def _target(role: Role) -> Target:
    return Target("role", str(role.pk), role.name)


def _known(capabilities: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(capabilities))
    unknown = [code for code in wanted if code not in CODES]
    if unknown:
        errors = [FieldError("capabilities", f"There is no capability {code[:64]!r}.", "unknown") for code in unknown[:20]]
        raise Invalid("Some of these capabilities don't exist: see /api/permissions.", errors=errors)
    return sorted(wanted)


def _taken(slug: str) -> Conflict:
    return Conflict(f"There is a role {slug} already.", code="role_exists", errors=[FieldError("slug", "It is taken.", "unavailable")])


def create_role(
    by: User,
    *,
    name: str,
    slug: str = "",
    description: str = "",
    capabilities: Iterable[str],
    quota: quotas.Allowance | None = None,
    actor: Actor,
) -> Role:
    """A new role; `quota` None: none. Raises Forbidden (it would hold what you lack), Invalid, Conflict (code role_exists)."""
    require(by, "roles.manage")
    wanted = _known(capabilities)
    check_assignable(by, frozenset(wanted), what="This role")
    slug = slug or slugify(name)[:64]
    if not slug:
        raise Invalid("Give a slug: none can be made of this name.", errors=[FieldError("slug", "Letters, digits and dashes.", "required")])
    try:
        with transaction.atomic():
            role = Role.objects.create(slug=slug, name=name, description=description, capabilities=wanted)
            given = quotas.give(role, quota, by=by)
            after = {"slug": slug, "capabilities": wanted, **({"quota": given["after"]} if given else {})}
            record("accounts.role_create", actor=actor, target=_target(role), after=after)
    except IntegrityError:
        raise _taken(slug) from None
    return role


def _own(by: User, role_id: UUID, *, also_built_in: bool = False) -> tuple[Role, User]:
    """The role, locked, and the acting person as of now, if they may change it. Raises NotFound, Conflict (code built_in_role), Forbidden."""
    role = Role.objects.select_for_update().filter(pk=role_id).first()
    if role is None:
        raise NotFound("There is no such role.")
    if role.built_in and not also_built_in:
        raise Conflict(f"{role.name} is built in: make a role of your own.", code="built_in_role")
    fresh = User.objects.select_related("role").get(pk=by.pk)  # as of now: rights may have gone since the request came
    fresh.api_key = by.api_key
    require(fresh, "roles.manage")
    if fresh.role_id == role.pk:
        raise Forbidden("It is your own role: ask another administrator.", code="own_role")
    check_assignable(fresh, frozenset(role.capabilities) & CODES, what=f"The role {role.name}")
    return role, fresh


def update_role(by: User, role_id: UUID, *, changes: dict[str, Any], actor: Actor) -> Role:
    """Change `name`, `description`, `capabilities`, `quota` (an Allowance; None: none); open sockets of its people follow within 5 s. About a
    built-in role only the quota, and not that of administrators, who have none.

    Raises:
        NotFound, Invalid, Conflict (built in), Forbidden (your own; or it holds, or would hold, what you lack).
    """
    changes = dict(changes)
    quota = {"quota": changes.pop("quota")} if "quota" in changes else {}
    with transaction.atomic():
        role, fresh = _own(by, role_id, also_built_in=bool(quota) and not changes)
        if quota:
            _set_quota(fresh, role, quota["quota"], actor=actor)
        if "capabilities" in changes:
            changes = {**changes, "capabilities": _known(changes["capabilities"])}
            check_assignable(fresh, frozenset(changes["capabilities"]), what="This role")
        changes = {name: value for name, value in changes.items() if getattr(role, name) != value}
        if changes:
            before = {name: getattr(role, name) for name in changes}
            for name, value in changes.items():
                setattr(role, name, value)
            role.save(update_fields=[*changes, "updated_at"])
            record("accounts.role_update", actor=actor, target=_target(role), before=before, after=changes)
            if "capabilities" in changes:
                for pk in User.objects.filter(role=role, is_active=True).values_list("pk", flat=True)[:TOLD_AT_ONCE]:
                    live.on_commit_publish(f"user:{pk}", {"type": "rights_changed"})  # sockets of more people follow by their clock
    return role


def _set_quota(by: User, role: Role, allowance: quotas.Allowance | None, *, actor: Actor) -> None:
    if role.slug == ADMINISTRATOR:
        raise Conflict("Administrators have no quota.", code="built_in_role")
    if given := quotas.give(role, allowance, by=by):
        record("accounts.role_update", actor=actor, target=_target(role), before={"quota": given["before"]}, after={"quota": given["after"]})


def delete_role(by: User, role_id: UUID, *, actor: Actor) -> None:
    """Delete a role that nobody has. Raises NotFound, Forbidden, Conflict (codes built_in_role, role_in_use)."""
    try:
        with transaction.atomic():
            role, _ = _own(by, role_id)
            target, before = _target(role), {"slug": role.slug, "capabilities": role.capabilities}
            group = role.group
            role.delete()
            if group is not None:
                group.delete()  # and with it all that was granted to the role (D09)
            record("accounts.role_delete", actor=actor, target=target, before=before)
    except (ProtectedError, IntegrityError):
        raise Conflict("Some accounts have this role: give them another one first.", code="role_in_use") from None
