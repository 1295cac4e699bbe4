"""Browser sessions: each is a row beside Django's, so that people see and end them; and how lately each has shown who it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib.auth import login, logout, update_session_auth_hash
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest

from accounts import second_factor
from accounts.models import AuthSession, User
from accounts.sessionstore import kept_as
from audit.services import record
from lormas.common import clock, live
from lormas.common.addresses import client_address
from lormas.common.errors import Forbidden

BACKEND: Final = "accounts.backends.EmailOrUsernameBackend"
KEY: Final = "auth_session"
_SEEN: Final = "auth_seen"
SEEN_EVERY_SECONDS: Final = 120
KEPT: Final = timedelta(days=30)


def begin(request: HttpRequest, user: User, *, remember: bool, by: str) -> AuthSession:
    """Sign a browser in, whose every factor was checked. Rotates the session key and the CSRF token (E18)."""
    address, now = client_address(request), clock.now()
    with transaction.atomic():
        login(request, user, backend=BACKEND)
        request.session.set_expiry(None if remember else 0)
        session = _row(request, user, address=address)
        session.confirmed_at = now
        session.save(update_fields=["confirmed_at"])
        record("accounts.sign_in", actor=user.as_actor(address), target=second_factor.target(user), after={"session": str(session.pk), "by": by})
    return session


def _row(request: HttpRequest, user: User, *, address: str | None) -> AuthSession:
    now = clock.now()
    session = AuthSession.objects.create(
        user=user,
        kind=AuthSession.BROWSER,
        session_key=kept_as(request.session.session_key or ""),
        address=address,
        user_agent=request.headers.get("User-Agent", "")[:255],
        last_seen_at=now,
        expires_at=now + timedelta(seconds=settings.SESSION_COOKIE_AGE),
    )
    request.session[KEY] = str(session.pk)
    return session


def of(request: HttpRequest) -> AuthSession | None:
    """The row of this request's cookie session."""
    try:
        pk = UUID(str(request.session.get(KEY, "")))
    except ValueError:
        return None
    return AuthSession.objects.filter(pk=pk, user=request.user, revoked_at=None).first() if isinstance(request.user, User) else None


def current(request: Any) -> AuthSession | None:
    """Of an API request: the session of its token or of its cookie; None for an API key."""
    if isinstance(request.auth, AuthSession):
        return request.auth
    return of(request._request) if request.auth is None else None


def seen(request: HttpRequest) -> None:
    """Keep `last_seen_at` true to two minutes, and the row's end as far away as the cookie's."""
    now = clock.now()
    known = request.session.get(_SEEN, 0)
    if KEY not in request.session or (isinstance(known, int) and now.timestamp() - known < SEEN_EVERY_SECONDS):
        return
    request.session[_SEEN] = int(now.timestamp())  # saves the session, which moves its end, too
    ends = now + timedelta(seconds=settings.SESSION_COOKIE_AGE)
    AuthSession.objects.filter(pk=request.session[KEY], revoked_at=None).update(last_seen_at=now, expires_at=ends, address=client_address(request))


def end(request: HttpRequest) -> None:
    """Sign this browser out."""
    user, session = request.user, of(request) if request.user.is_authenticated else None
    known = user if isinstance(user, User) else None
    with transaction.atomic():
        if session is not None:
            AuthSession.objects.filter(pk=session.pk, revoked_at=None).update(revoked_at=clock.now(), revoked_why="sign_out")
        logout(request)
        if known is not None:
            record("accounts.sign_out", actor=known.as_actor(), target=second_factor.target(known), before={"by": "cookie"})
            live.on_commit_publish(f"user:{known.pk}", {"type": "session_ended", "session": None, "why": "sign_out"})


def after_password_change(request: HttpRequest, user: User) -> None:
    """This browser lives on under a new session key; all others have ended."""
    session = of(request)
    update_session_auth_hash(request, user)
    if session is not None:
        AuthSession.objects.filter(pk=session.pk).update(session_key=kept_as(request.session.session_key or ""), confirmed_at=clock.now())


def is_recent(session: AuthSession | None) -> bool:
    """Has it shown the password or a second factor within `CONFIRM_SECONDS`?"""
    shown = session.confirmed_at if session is not None else None
    return shown is not None and clock.now() - shown < timedelta(seconds=settings.CONFIRM_SECONDS)


def require_recent(session: AuthSession | None) -> None:
    """For acts on credentials: a session that was left open or stolen must not be enough (E17). Raises Forbidden (code confirm_required)."""
    if not is_recent(session):
        raise Forbidden("Confirm that it is you: POST /api/auth/confirm {password} or {code}, then try again.", code="confirm_required")


def confirm(session: AuthSession) -> None:
    """It showed the password or a second factor just now."""
    session.confirmed_at = clock.now()
    AuthSession.objects.filter(pk=session.pk).update(confirmed_at=session.confirmed_at)


def adopt(request: HttpRequest, user: User) -> AuthSession:
    """The row of this cookie session; made, if it began before there were such rows."""
    return of(request) or _row(request, user, address=client_address(request))


def forget_ended(*, limit: int = 1000) -> int:
    """Retention: sessions that ended a month ago."""
    before = clock.now() - KEPT
    old = AuthSession.objects.filter(Q(expires_at__lt=before) | Q(revoked_at__lt=before)).values_list("pk", flat=True)[:limit]
    return AuthSession.objects.filter(pk__in=list(old)).delete()[0] + _forget_cookies()


def _forget_cookies() -> int:
    from django.contrib.sessions.models import Session

    return Session.objects.filter(expire_date__lt=clock.now()).delete()[0]
