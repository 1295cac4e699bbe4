"""Administrators' acts on accounts. Nobody reaches above themselves, nobody changes their own standing, and one administrator always stays."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import IntegrityError, transaction
from django.db.models import Count, F, ProtectedError, Q

from accounts import quotas, tokens
from accounts.access import capabilities_of, require, rights_of
from accounts.capabilities import ADMINISTRATOR
from accounts.models import ApiKey, AuthSession, Role, User
from accounts.services import checked_password, free_username, target_of
from audit.services import Actor, record
from lormas.common import clock, live
from lormas.common.database import done_again
from lormas.common.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, Problem, Refused

BulkAction = Literal["activate", "deactivate", "delete", "assign_role"]
MAX_BULK: Final = 100


def administrators() -> Q:
    """Active accounts that may do everything. The last one of them stays."""
    role = Role.objects.filter(slug=ADMINISTRATOR).values_list("pk", flat=True).first()
    return Q(is_active=True) & (Q(is_superuser=True) | Q(role_id=role) if role else Q(is_superuser=True))


def invited() -> Q:
    """Accounts that were not taken into use (`User.is_invited`)."""
    return Q(verified_email="", **{"password__startswith": UNUSABLE_PASSWORD_PREFIX})


def check_role(by: User, role: Role) -> None:
    """Raises Forbidden if this role may what `by` may not, or has a wider quota: but for that which every newcomer gets."""
    check_assignable(by, frozenset(role.capabilities), what=f"The role {role.name}")
    if role.slug != settings.SIGNUP_ROLE:
        quotas.check_held(by, quotas.of_role(role))


def check_assignable(by: User, capabilities: frozenset[str], *, what: str) -> None:
    """Nobody gives what they lack (D08). Raises Forbidden (code capability_not_held)."""
    lacking = sorted(capabilities - capabilities_of(by))
    if lacking:
        raise Forbidden(f"{what} holds what you lack: {', '.join(lacking)}.", code="capability_not_held", extra={"capabilities": lacking})


def check_reach(by: User, target: User) -> None:
    """Lower can't touch higher (D08); deactivated accounts keep their height, for they can be activated."""
    if target.pk == by.pk:
        raise Forbidden("You can't do this to your own account: ask another administrator.", code="own_account")
    if target.is_superuser and (not by.is_superuser or by.api_key is not None):
        raise Forbidden(f"{target.label} is a superuser: only another one, signed in, may do this.", code="higher_rights")
    if not rights_of(target) <= capabilities_of(by):
        raise Forbidden(f"{target.label} has rights that you lack.", code="higher_rights")


def enter(by: User, capability: str) -> tuple[User, set[UUID]]:
    """Inside the transaction: all administrators, locked in one order, and the acting person as of now.

    So of two that depose each other at the same time, the second finds itself deposed.
    """
    held = set(User.objects.select_for_update().filter(administrators()).order_by("pk").values_list("pk", flat=True))
    fresh = User.objects.select_related("role").filter(pk=by.pk).first()
    if fresh is None or not fresh.is_active:
        raise Forbidden("Your account has ended.")
    fresh.api_key = by.api_key
    require(fresh, capability)
    return fresh, held


def _locked(ids: Sequence[UUID]) -> dict[UUID, User]:
    list(User.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk", flat=True))
    return {user.pk: user for user in User.objects.select_related("role").filter(pk__in=ids)}


def _check_one_stays(held: set[UUID], leaving: User) -> None:
    """Takes `leaving` out of the administrators. Raises Conflict (code last_administrator)."""
    if leaving.pk not in held:
        return
    if len(held) == 1:
        raise Conflict(f"{leaving.label} is the last administrator: make another one first.", code="last_administrator")
    held.discard(leaving.pk)


def role_named(name: str) -> Role:
    """By slug or id. Raises Refused."""
    try:
        found = Role.objects.filter(pk=UUID(name)).first()
    except ValueError:
        found = Role.objects.filter(slug=name).first()
    if found is None:
        raise Refused(f"There is no role {name[:64]!r}.", errors=[FieldError("role", "There is no such role.", "unknown")])
    return found


def check_free(*, email: str | None, username: str | None, but: UUID | None = None) -> None:
    """Raises Conflict (code unavailable); administrators may see all accounts, so it says what is taken."""
    others = User.objects.exclude(pk=but) if but else User.objects.all()
    for field, value in (("username", username), ("email", email)):
        if value and others.filter(Q(email__iexact=value) | Q(username__iexact=value)).exists():
            raise Conflict(f"{value} is taken.", code="unavailable", errors=[FieldError(field, "It is taken.", "unavailable")])


def taken() -> Conflict:
    return Conflict("The e-mail address or the username is taken.", code="unavailable", errors=[FieldError("", "It is taken.", "unavailable")])


def create_person(
    by: User,
    *,
    email: str,
    name: str = "",
    username: str = "",
    role: str | None = None,
    password: str | None = None,
    must_change: bool = True,
    actor: Actor,
) -> tuple[User, str | None]:
    """A new account, and its password where none was given. It must be changed at the first sign-in: two know it.

    Args:
        role: slug or id; none: `SIGNUP_ROLE`. Another one takes `roles.manage`.
        must_change: False only for accounts of programs that could not change it (the older interface); one that was made here is changed always.

    Raises:
        Forbidden: the role holds what you lack. Conflict: a name is taken (code unavailable). Refused: no such role, or the password breaks a rule.
    """
    email, username = email.strip().lower(), username.strip()
    given = role_named(role or settings.SIGNUP_ROLE)
    if role is not None and given.slug != settings.SIGNUP_ROLE:
        require(by, "roles.manage")
    check_role(by, given)
    generated = secrets.token_urlsafe(15) if password is None else None
    if password is not None:
        checked_password(password, user=User(email=email, username=username or email, name=name))
    try:
        with transaction.atomic():
            check_free(email=email, username=username)
            user = User.objects.create_user(
                email,
                password or generated,
                username=username or free_username(email),
                name=name.strip(),
                role=given,
                must_change_password=must_change or generated is not None,
            )
            record("accounts.user_create", actor=actor, target=target_of(user), after={"email": email, "username": user.username, "role": given.slug})
    except IntegrityError:
        raise taken() from None
    return user, generated


def update_person(by: User, user_id: UUID, *, changes: dict[str, Any], actor: Actor) -> User:
    """Change `email`, `username`, `name`, `role` (slug or id), `is_active` and `quota` (an Allowance, or None: that of the role counts).

    About yourself only the first three, and not by an API key.

    Raises:
        NotFound, Refused (no such role), Forbidden, Conflict (codes unavailable, last_administrator).
    """
    changes = dict(changes)
    role, active = changes.pop("role", None), changes.pop("is_active", None)
    quota = {"quota": changes.pop("quota")} if "quota" in changes else {}
    try:
        with transaction.atomic():
            fresh, held = enter(by, "users.manage")
            user = _locked([user_id]).get(user_id)
            if user is None:
                raise NotFound("There is no such account.")
            if user.pk != fresh.pk or fresh.api_key is not None:
                check_reach(fresh, user)
            if changes:
                _rename(user, changes, actor=actor)
            if role is not None:
                _assign(fresh, user, role_named(role), held=held, actor=actor)
            if active is not None:
                _set_active(fresh, user, active, held=held, actor=actor)
            if quota:
                _set_quota(fresh, user, quota["quota"], actor=actor)
    except IntegrityError:
        raise taken() from None
    return user


def _rename(user: User, changes: dict[str, Any], *, actor: Actor) -> None:
    if "email" in changes:
        changes["email"] = changes["email"].strip().lower()
    changes = {name: value for name, value in changes.items() if getattr(user, name) != value}
    if not changes:
        return
    before = {name: getattr(user, name) for name in changes}
    check_free(email=changes.get("email"), username=changes.get("username"), but=user.pk)
    for name, value in changes.items():
        setattr(user, name, value)
    user.save(update_fields=[*changes, "updated_at"])
    record("accounts.user_update", actor=actor, target=target_of(user), before=before, after=changes)


def _assign(by: User, user: User, role: Role, *, held: set[UUID], actor: Actor) -> None:
    require(by, "roles.manage")
    if user.role_id == role.pk:
        return
    check_reach(by, user)  # says no to one's own role, too
    check_role(by, role)
    if role.slug != ADMINISTRATOR and not user.is_superuser:
        _check_one_stays(held, user)
    before = user.role.slug if user.role is not None else None
    user.role = role
    user.save(update_fields=["role", "updated_at"])
    record("accounts.user_role", actor=actor, target=target_of(user), before={"role": before}, after={"role": role.slug})
    live.on_commit_publish(f"user:{user.pk}", {"type": "rights_changed"})  # open sockets look again at once


def _set_active(by: User, user: User, active: bool, *, held: set[UUID], actor: Actor) -> None:
    if user.is_active == active:
        return
    check_reach(by, user)
    ended = 0
    if not active:
        _check_one_stays(held, user)
    user.is_active = active
    user.save(update_fields=["is_active", "updated_at"])
    if not active:  # the generation: cookies and tokens of before stay dead when the account is activated again
        User.objects.filter(pk=user.pk).update(token_generation=F("token_generation") + 1)
        ended = tokens.revoke_all(user, why="deactivated")
    action = "accounts.user_activate" if active else "accounts.user_deactivate"
    record(action, actor=actor, target=target_of(user), before={"is_active": not active}, after={"is_active": active, "sessions_ended": ended})


def _set_quota(by: User, user: User, allowance: quotas.Allowance | None, *, actor: Actor) -> None:
    check_reach(by, user)  # says no to one's own, too
    if given := quotas.give(user, allowance, by=by):
        record("accounts.user_update", actor=actor, target=target_of(user), before={"quota": given["before"]}, after={"quota": given["after"]})


def _delete(by: User, user: User, *, held: set[UUID], actor: Actor) -> None:
    check_reach(by, user)
    _check_one_stays(held, user)
    target, before = target_of(user), {"email": user.email, "username": user.username, "role": user.role.slug if user.role else None}
    channel = f"user:{user.pk}"
    try:
        user.delete()
    except ProtectedError as error:
        kinds = sorted({str(one._meta.verbose_name_plural) for one in error.protected_objects})
        raise Conflict(
            f"{target.label} still owns {', '.join(kinds)} (the trash counts): delete or hand them over first, or deactivate the account.",
            code="owns_objects",
            extra={"owns": len(error.protected_objects)},
        ) from None
    record("accounts.user_delete", actor=actor, target=target, before=before)
    live.on_commit_publish(channel, {"type": "sessions_ended", "keep": None, "why": "deleted"})


def delete_person(by: User, user_id: UUID, *, actor: Actor) -> None:
    """Delete an account that owns nothing. Raises NotFound, Forbidden, Conflict (codes owns_objects, last_administrator)."""
    try:
        with transaction.atomic():
            fresh, held = enter(by, "users.manage")
            user = _locked([user_id]).get(user_id)
            if user is None:
                raise NotFound("There is no such account.")
            _delete(fresh, user, held=held, actor=actor)
    except IntegrityError:  # something was made for them in between
        raise Conflict("This account came to own something in this moment: look again.", code="owns_objects") from None


@done_again
def bulk(by: User, *, ids: Sequence[UUID], action: BulkAction, role: str | None = None, actor: Actor) -> list[User]:
    """One act on up to `MAX_BULK` accounts: all or nothing. Returns them as they are now (as they were, where deleted).

    Raises:
        Forbidden where one of them is out of reach, else Conflict; `errors` names each by `ids.<position>`. Invalid: `role` where it does not
        belong, or missing. Refused: no such role.
    """
    if (role is not None) != (action == "assign_role"):
        raise Invalid("`role` goes with assign_role, and only with it.", errors=[FieldError("role", "It goes with assign_role.", "required")])
    given = role_named(role) if role is not None else None
    try:
        with transaction.atomic():
            fresh, held = enter(by, "users.manage")
            found = _locked(ids)
            acts: dict[str, Callable[[User], None]] = {
                "activate": lambda user: _set_active(fresh, user, True, held=held, actor=actor),
                "deactivate": lambda user: _set_active(fresh, user, False, held=held, actor=actor),
                "delete": lambda user: _delete(fresh, user, held=held, actor=actor),
            }
            if given is not None:
                chosen = given
                acts["assign_role"] = lambda user: _assign(fresh, user, chosen, held=held, actor=actor)
            problems: list[tuple[int, Problem]] = []
            done: dict[UUID, User] = {}
            for position, user_id in enumerate(ids):
                try:
                    if user_id not in found:
                        raise NotFound("There is no such account.")
                    if user_id not in done:
                        done[user_id] = found[user_id]
                        acts[action](found[user_id])
                        done[user_id].pk = user_id  # a deleted instance forgets who it was
                except Problem as problem:
                    problems.append((position, problem))
            if problems:
                raise _none_of_them(problems)
    except IntegrityError:
        raise Conflict("One of these accounts came to own something in this moment: nothing was done.", code="owns_objects") from None
    return list(done.values())


def _none_of_them(problems: Sequence[tuple[int, Problem]]) -> Problem:
    kind = Forbidden if any(isinstance(problem, Forbidden) for _, problem in problems) else Conflict
    errors = [FieldError(f"ids.{position}", problem.detail, problem.code) for position, problem in problems]
    return kind(f"Nothing was done: {problems[0][1].detail}", code="bulk_refused", errors=errors)


def stats() -> dict[str, Any]:
    """Counts of accounts, by state and by role; of live sessions and keys."""
    counted = User.objects.aggregate(
        total=Count("pk"),
        active=Count("pk", filter=Q(is_active=True)),
        administrators=Count("pk", filter=administrators()),
        invited=Count("pk", filter=invited()),
        must_change_password=Count("pk", filter=Q(must_change_password=True)),
    )
    now = clock.now()
    roles = Role.objects.annotate(count=Count("users")).values("slug", "name", "count").order_by("slug")
    return {
        **counted,
        "inactive": counted["total"] - counted["active"],
        "sessions": AuthSession.objects.filter(revoked_at=None, expires_at__gt=now).count(),
        "keys": ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now)).count(),
        "by_role": list(roles),
    }
