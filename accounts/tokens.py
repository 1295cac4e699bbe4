"""Access and refresh tokens of people.

An access token names its session (`sid`): ending the session ends the token at once. A refresh token is good once; a second use means that
two parties hold it, and ends the whole family. Each kind has its own key and audience, so that none passes as another (E01-E04, M8).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError

from accounts import keys
from accounts.models import AuthSession, User
from audit.services import Target, record
from lormas.common import clock, live
from lormas.common.crypto import derive_key
from lormas.common.database import one
from lormas.common.errors import NotSignedIn

ISSUER: Final = "lormas"
Kind = Literal["user", "refresh"]
SEEN_EVERY: Final = timedelta(seconds=60)
MAX_TOKEN_CHARS: Final = 4096


@dataclass(frozen=True, slots=True)
class Pair:
    """What a sign-in gives."""

    access: str
    refresh: str
    expires_in: int
    """Seconds for which `access` is good."""
    session: AuthSession


@lru_cache(maxsize=8)
def _backend(key: str, kind: Kind) -> TokenBackend:
    return TokenBackend("HS256", signing_key=derive_key(key, f"token-{kind}"), audience=kind, issuer=ISSUER)


def _encode(kind: Kind, claims: dict[str, Any], *, lives: timedelta, now: datetime) -> str:
    payload = {**claims, "iat": int(now.timestamp()), "exp": int((now + lives).timestamp())}
    return str(_backend(settings.JWT_USER_KEY, kind).encode(payload))


def _refused(detail: str = "The token is invalid or has ended: sign in again.") -> NotSignedIn:
    return NotSignedIn(detail, code="token_invalid")


def _decode(kind: Kind, token: str) -> tuple[uuid.UUID, uuid.UUID, dict[str, Any]]:
    """Person, session, claims. Every claim is checked by type: a well-signed token with garbage in it is 401, never 500 (M8)."""
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_CHARS or not token.isascii():
        raise _refused()
    try:
        claims = _backend(settings.JWT_USER_KEY, kind).decode(token)  # type: ignore[arg-type]  # its stub asks for a Token, the code for text
    except (TokenBackendError, ValueError, TypeError) as error:
        raise _refused() from error
    if not isinstance(claims, dict) or not {"exp", "aud", "iss", "sub", "sid"} <= claims.keys():
        raise _refused()
    if claims["aud"] != kind or not isinstance(claims["sub"], str) or not isinstance(claims["sid"], str):
        raise _refused()
    try:
        return uuid.UUID(claims["sub"]), uuid.UUID(claims["sid"]), claims
    except ValueError as error:
        raise _refused() from error


def _pair(user: User, session: AuthSession, *, now: datetime) -> Pair:
    common = {"sub": str(user.pk), "sid": str(session.pk)}
    access = _encode("user", {**common, "gen": user.token_generation, "jti": uuid.uuid4().hex}, lives=settings.ACCESS_TOKEN_LIFETIME, now=now)
    refresh = _encode("refresh", {**common, "jti": str(session.refresh_id)}, lives=settings.REFRESH_TOKEN_LIFETIME, now=now)
    return Pair(access, refresh, settings.JWT_ACCESS_SECONDS, session)


def issue(user: User, *, address: str | None, user_agent: str) -> Pair:
    """A new session and its first tokens."""
    now = clock.now()
    session = AuthSession.objects.create(
        user=user,
        address=address,
        user_agent=user_agent[:255],
        confirmed_at=now,
        last_seen_at=now,
        expires_at=now + settings.REFRESH_TOKEN_LIFETIME,
    )
    return _pair(user, session, now=now)


def user_for_access_token(token: str, *, address: str | None = None) -> tuple[User, AuthSession | None]:
    """Who holds it, as of now. Used by the API and by sockets.

    Args:
        token: an access token, or an API key: then there is no session, and `user.api_key` is set.
        address: where it came from; a key may be bound to addresses.

    Raises:
        NotSignedIn: forged, of another kind, expired; session ended; account deactivated; generation raised.
        TooMany: too many wrong keys from this address.
    """
    if keys.looks_like_key(token):
        return keys.user_for_key(token, address=address), None
    user_id, session_id, claims = _decode("user", token)
    now = clock.now()
    session = one(
        AuthSession.objects.select_related("user", "user__role").filter(
            pk=session_id, user_id=user_id, kind=AuthSession.TOKEN, revoked_at=None, expires_at__gt=now, user__is_active=True
        )
    )
    generation = claims.get("gen")
    if session is None or isinstance(generation, bool) or generation != session.user.token_generation:
        raise _refused()
    if now - session.last_seen_at > SEEN_EVERY:
        AuthSession.objects.filter(pk=session.pk, last_seen_at=session.last_seen_at).update(last_seen_at=now)
    return session.user, session


def rotate(token: str) -> Pair:
    """New tokens for a refresh token. A replayed one ends the family (E04). Raises NotSignedIn."""
    user_id, session_id, claims = _decode("refresh", token)
    try:
        refresh_id = uuid.UUID(str(claims.get("jti")))
    except ValueError as error:
        raise _refused() from error
    now = clock.now()
    good = AuthSession.objects.filter(
        pk=session_id, user_id=user_id, kind=AuthSession.TOKEN, revoked_at=None, expires_at__gt=now, user__is_active=True
    )
    # Of two that race with one token, the conditional UPDATE lets one win; the other is a replay.
    won = good.filter(refresh_id=refresh_id).update(refresh_id=uuid.uuid4(), last_seen_at=now, expires_at=now + settings.REFRESH_TOKEN_LIFETIME)
    session = good.select_related("user", "user__role").first()
    if session is None:
        raise _refused()
    if not won:
        with transaction.atomic():
            revoke(session, why="refresh_reused")
            target = Target("session", str(session.pk), session.user.label)
            record("accounts.refresh", actor=session.user.as_actor(), target=target, outcome="refused", message="A used refresh token came again.")
        raise _refused("This refresh token was used before, so its session was ended: sign in again.")
    return _pair(session.user, session, now=now)


def revoke(session: AuthSession, *, why: str) -> bool:
    """End one session and all its tokens, or its cookie; False if it had ended before. Open sockets are told on `user:<id>`."""
    ended = AuthSession.objects.filter(pk=session.pk, revoked_at=None).update(revoked_at=clock.now(), revoked_why=why[:64])
    if ended:
        if session.session_key:
            Session.objects.filter(session_key=session.session_key).delete()
        live.on_commit_publish(f"user:{session.user_id}", {"type": "session_ended", "session": str(session.pk), "why": why})
    return bool(ended)


def revoke_all(user: User, *, why: str, keep: AuthSession | None = None) -> int:
    """End all sessions of a person but one; returns how many."""
    found = AuthSession.objects.filter(user=user, revoked_at=None)
    if keep is not None:
        found = found.exclude(pk=keep.pk)
    cookies = list(found.exclude(session_key="").values_list("session_key", flat=True))
    Session.objects.filter(session_key__in=cookies).delete()
    ended = found.update(revoked_at=clock.now(), revoked_why=why[:64])
    live.on_commit_publish(f"user:{user.pk}", {"type": "sessions_ended", "keep": str(keep.pk) if keep else None, "why": why})
    return ended
