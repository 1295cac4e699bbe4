"""One-time tickets: what a browser or script puts into an address where it can't send a header. Good once, for a minute, for one thing.

Signed with a key and audience of their own, so that no other token passes here and a ticket passes nowhere else (E02). It opens no more than
the session or key that asked for it, and ends with that (D12). Spent tickets are remembered in Redis until they would be too old anyway;
without it none is taken.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

import jwt
import redis
from django.conf import settings

from accounts import keys
from accounts.limits import LimiterAway
from accounts.models import AuthSession, User
from lormas.common import clock, ratelimit
from lormas.common.errors import NotSignedIn

Action = Literal["socket"]
ACTIONS: Final[dict[str, str]] = {"socket": "Open the client socket /ws."}
AUDIENCE: Final = "ticket"
ISSUER: Final = "lormas"
LIVES: Final = timedelta(seconds=60)
MAX_CHARS: Final = 1024


@dataclass(frozen=True, slots=True)
class Spent:
    """Whom a ticket stands for, by which session (None: an API key, then `user.api_key` is set), and what alone it is about (None: anything)."""

    user: User
    session: AuthSession | None
    about: str | None


def issue(user: User, session: AuthSession | None, *, action: Action, about: str | None = None) -> str:
    """A ticket for the bearer of a session or an API key. `about`: the id of the only object that it opens."""
    now = clock.now()
    origin = {"key": str(user.api_key.pk)} if user.api_key is not None else {"sid": str(session.pk)} if session is not None else {}
    if not origin:
        raise ValueError("a ticket comes from a session or a key")
    claims = {
        "aud": AUDIENCE,
        "iss": ISSUER,
        "sub": str(user.pk),
        "gen": user.token_generation,
        "act": action,
        "obj": about,
        "jti": uuid.uuid4().hex,
        "iat": int(now.timestamp()),
        "exp": int((now + LIVES).timestamp()),
        **origin,
    }
    return jwt.encode(claims, settings.JWT_TICKET_KEY, algorithm="HS256")


def looks_like_ticket(text: str) -> bool:
    """Told by the audience it claims; `spend` then believes nothing of that."""
    if not 0 < len(text) <= MAX_CHARS or not text.isascii():
        return False
    try:
        return bool(jwt.decode(text, options={"verify_signature": False, "verify_aud": False, "verify_exp": False}).get("aud") == AUDIENCE)
    except (jwt.PyJWTError, ValueError, AttributeError):
        return False


def _refused() -> NotSignedIn:
    return NotSignedIn("The ticket was used before, is too old, or is none: ask for a new one.", code="token_invalid")


def _claims(text: str, action: Action) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            settings.JWT_TICKET_KEY,
            algorithms=["HS256"],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": ["exp", "aud", "iss", "sub", "jti"], "strict_aud": True},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise _refused() from error
    if claims.get("act") != action:
        raise _refused()
    return claims


def _first_time(jti: str) -> bool:
    try:
        return bool(ratelimit.client().set(f"{settings.RATE_LIMIT_PREFIX}:ticket:{jti}", 1, nx=True, ex=int(LIVES.total_seconds()) + 60))
    except redis.RedisError as error:
        raise LimiterAway("This is not possible for a moment; try again in a few seconds.", extra={"retry_after": 3}) from error


def spend(text: str, *, action: Action) -> Spent:
    """Use a ticket up. Raises NotSignedIn: forged, of another kind or for another act, too old, used, or what it came from ended; LimiterAway."""
    claims = _claims(text, action)
    try:
        user_id, origin, jti = uuid.UUID(str(claims["sub"])), uuid.UUID(str(claims.get("key") or claims.get("sid"))), uuid.UUID(str(claims["jti"]))
    except ValueError as error:
        raise _refused() from error
    if not _first_time(jti.hex):
        raise _refused()
    about = claims.get("obj") if isinstance(claims.get("obj"), str) else None
    if claims.get("key"):
        holder = keys.holder(origin)
        if holder is None or holder.pk != user_id or holder.token_generation != claims.get("gen"):
            raise _refused()
        return Spent(holder, None, about)
    session = (
        AuthSession.objects.select_related("user", "user__role")
        .filter(pk=origin, user_id=user_id, revoked_at=None, expires_at__gt=clock.now(), user__is_active=True)
        .first()
    )
    if session is None or session.user.token_generation != claims.get("gen"):
        raise _refused()
    return Spent(session.user, session, about)
