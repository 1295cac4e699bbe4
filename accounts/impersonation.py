"""Seeing the console as somebody else: for an hour, never up to more rights, and every row of the journal says who it really is.

It lives in the browser session of whoever looks. Each request checks anew that both may still; credentials of the other person stay shut.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.db import transaction

from accounts import granting
from accounts.access import capabilities_of, require, rights_of
from accounts.models import User
from accounts.services import target_of
from audit.services import Actor, record
from lormas.common import clock, live
from lormas.common.errors import Conflict, Forbidden, NotFound, NotSignedIn

KEY: Final = "impersonating"
SECONDS: Final = 3600
WIDE: Final = frozenset({"containers.any", "operations.any", "reservations.any"})
"""What people own comes with them: whoever looks through their eyes must be allowed to see everybody's anyway."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why it is over before it was ended, in a sentence."""

    why: str
    target: User | None


def _check(by: User, target: User) -> None:
    """Raises Forbidden (codes own_account, higher_rights), Conflict (code never_signed_in)."""
    require(by, "users.impersonate")
    if target.pk == by.pk:
        raise Forbidden("It is your own account.", code="own_account")
    if not target.is_active:
        raise Conflict(f"{target.label} is deactivated.", code="inactive")
    if target.must_change_password or not target.has_usable_password():
        raise Conflict(f"{target.label} has not chosen a password yet: there is nothing to see.", code="never_signed_in")
    granted = {code for grant in granting.of_person(target) for code in grant.permissions}
    lacking = sorted((rights_of(target) | granted | WIDE) - capabilities_of(by))
    if target.is_superuser and not by.is_superuser:
        raise Forbidden(f"{target.label} is a superuser.", code="higher_rights")
    if lacking:
        raise Forbidden(f"{target.label} reaches what you may not: you lack {', '.join(lacking)}.", code="higher_rights")


def begin(by: User, user_id: UUID, *, session: SessionBase, actor: Actor) -> User:
    """From now on this browser session sees as that person does. Raises NotFound, Forbidden, Conflict, NotSignedIn."""
    if by.impersonator is not None:
        raise Forbidden("You see as somebody else already: end that first.", code="impersonating")
    require(by, "users.impersonate")
    target = User.objects.select_related("role").filter(pk=user_id).first()
    if target is None:
        raise NotFound("There is no such account.")
    _check(by, target)
    with transaction.atomic():
        record("accounts.impersonate", actor=actor, target=target_of(target), after={"seconds": SECONDS})
        session[KEY] = {"user": str(target.pk), "since": clock.now().timestamp()}
        _store(session)
        live.on_commit_publish(f"user:{by.pk}", {"type": "rights_changed"})  # open sockets of this browser end: they saw as the other one
    return target


def end(by: User, *, session: SessionBase, actor: Actor, why: str = "") -> User | None:
    """Back to oneself; None: there was nothing to end."""
    kept = session.pop(KEY, None)
    if kept is None:
        return None
    target = _target(kept)
    with transaction.atomic():
        record("accounts.impersonate_end", actor=actor, target=target_of(target) if target else None, message=why)
        with contextlib.suppress(NotSignedIn):  # it ended meanwhile, and this with it
            _store(session)
        live.on_commit_publish(f"user:{by.pk}", {"type": "rights_changed"})
        if target is not None:
            live.on_commit_publish(f"user:{target.pk}", {"type": "rights_changed"})  # sockets that were opened meanwhile hear as that person
    return target


def _store(session: SessionBase) -> None:
    """Now, not with the response: a socket that is told looks at once, and must find what it was told of. Raises NotSignedIn."""
    try:
        session.save()
    except UpdateError:
        raise NotSignedIn("This session has ended: sign in again.") from None


def _target(kept: Any) -> User | None:
    try:
        return User.objects.select_related("role").filter(pk=UUID(str(kept["user"]))).first()
    except (KeyError, TypeError, ValueError):
        return None


def seen_as(by: User, session: Any) -> User | Ended:
    """Through whose eyes this session looks: `by` itself, or the other person with `impersonator` set; Ended: it must end now."""
    kept = session.get(KEY) if session is not None else None
    if kept is None:
        return by
    target = _target(kept)
    if target is None:
        return Ended("The account is gone.", None)
    try:
        if clock.now().timestamp() - float(kept["since"]) > SECONDS:
            return Ended("The hour is over.", target)
        _check(by, target)
    except (KeyError, TypeError, ValueError):
        return Ended("The session was not readable.", target)
    except (Forbidden, Conflict) as problem:
        return Ended(problem.detail, target)
    target.impersonator = by
    return target
