"""Signing a browser in, in steps: password (or provider, or passkey), then a second factor where there is one."""

from __future__ import annotations

import time
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse

from accounts import second_factor, sessions
from accounts.models import User

_PENDING: Final = "sign_in_pending"
_SIGNED_UP: Final = "signed_up_mark"
PENDING_SECONDS: Final = 600


def admit(request: HttpRequest, user: User, *, remember: bool, target: str, by: str) -> HttpResponseRedirect:
    """The first factor was right. Signs in, or remembers that for ten minutes and asks for the second."""
    if second_factor.has(user):
        # The password's mark: a change of it meanwhile voids this step.
        request.session[_PENDING] = {"user": str(user.pk), "hash": _mark(user), "at": int(time.time()), "by": by, "remember": remember, "to": target}
        return HttpResponseRedirect(reverse("accounts:code"))
    sessions.begin(request, user, remember=remember, by=by)
    return HttpResponseRedirect(target)


def _mark(user: User) -> str:
    return str(user.get_session_auth_hash())


def pending(request: HttpRequest) -> tuple[User, dict[str, Any]] | None:
    """Who still has to show a second factor in this browser."""
    kept = request.session.get(_PENDING)
    if not isinstance(kept, dict) or time.time() - kept.get("at", 0) > PENDING_SECONDS:
        return None
    user = User.objects.select_related("role").filter(pk=UUID(kept["user"]), is_active=True).first()
    return (user, kept) if user is not None and _mark(user) == kept["hash"] else None


def forget(request: HttpRequest) -> None:
    """The step was done, or given up."""
    request.session.pop(_PENDING, None)


def remember_sign_up(request: HttpRequest, mark: str) -> None:
    """This browser chose the password with this mark a moment ago."""
    request.session[_SIGNED_UP] = mark


def signed_up_mark(request: HttpRequest) -> str | None:
    """The mark of the password that this browser signed up with."""
    mark = request.session.get(_SIGNED_UP)
    return mark if isinstance(mark, str) else None
