"""API keys: long-lived credentials for scripts. Kept as digests, shown once, never able to do more than their owner may at that moment."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import string
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils.crypto import constant_time_compare

from accounts.access import capabilities_of
from accounts.capabilities import CODES
from accounts.limits import too_many
from accounts.models import ApiKey, User
from audit.services import Actor, Target, record
from lormas.common import clock, live
from lormas.common.database import one
from lormas.common.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, NotSignedIn, Refused, TooMany
from lormas.common.ratelimit import Limit, LimiterDown

MARK: Final = "lor_"
"""What every key begins with, so that a key is told from a token, and found by those who scan for leaked secrets."""
MAX_KEYS: Final = 25
MAX_ADDRESSES: Final = 32
_PREFIX_CHARS: Final = 8
_SECRET_CHARS: Final = 43
_ALPHABET: Final = string.ascii_letters + string.digits
_LENGTH: Final = len(MARK) + _PREFIX_CHARS + _SECRET_CHARS
_USED_EVERY: Final = timedelta(seconds=60)


def _digest(secret: str) -> str:
    # 255 random bits need no slow hash: there is no dictionary to try.
    return hashlib.sha256(secret.encode()).hexdigest()


def _target(key: ApiKey) -> Target:
    return Target("api_key", str(key.pk), key.name)


def _networks(entries: Sequence[str]) -> list[str]:
    """As `ipaddress` writes them. Raises Invalid."""
    found: list[str] = []
    for position, entry in enumerate(entries):
        try:
            found.append(str(ipaddress.ip_network(entry.strip(), strict=False)))
        except ValueError:
            detail = f"{entry[:64]!r} is no IP address or network such as 10.0.0.0/8."
            raise Invalid(detail, errors=[FieldError(f"allowed_ips.{position}", detail)]) from None
    return list(dict.fromkeys(found))


def create_key(
    user: User, *, name: str, scopes: Sequence[str], expires_at: datetime | None = None, allowed_ips: Sequence[str] = (), actor: Actor
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is told here and nowhere else.

    Raises:
        Invalid: a scope that does not exist, a wrong address. Forbidden: a scope that its owner lacks (code scope_not_held). Refused: an expiry in
        the past. Conflict (code too_many_keys).
    """
    wanted = sorted(set(scopes))
    unknown = [code for code in wanted if code not in CODES]
    if unknown:
        errors = [FieldError("scopes", f"There is no capability {code[:64]!r}.", "unknown") for code in unknown[:20]]
        raise Invalid("Some of these scopes don't exist: see /api/permissions.", errors=errors)
    lacking = [code for code in wanted if code not in capabilities_of(user)]
    if lacking:
        raise Forbidden(
            f"A key can't do what you may not: {', '.join(lacking)[:500]}.",
            code="scope_not_held",
            errors=[FieldError("scopes", f"You lack {code[:64]}.", "scope_not_held") for code in lacking[:20]],
        )
    if expires_at is not None and expires_at <= clock.now():
        raise Refused("The key would be dead at once.", errors=[FieldError("expires_at", "It is in the past.", "past")])
    addresses = _networks(allowed_ips)
    drawn = "".join(secrets.choice(_ALPHABET) for _ in range(_PREFIX_CHARS + _SECRET_CHARS))
    secret = MARK + drawn
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # of two that race for the last place, one waits
        if ApiKey.objects.filter(user=user).count() >= MAX_KEYS:
            raise Conflict(f"You have {MAX_KEYS} keys: delete one first.", code="too_many_keys", extra={"limit": MAX_KEYS})
        key = ApiKey.objects.create(
            user=user,
            name=name,
            prefix=secret[: len(MARK) + _PREFIX_CHARS],
            digest=_digest(secret),
            scopes=wanted,
            allowed_ips=addresses,
            expires_at=expires_at,
        )
        after = {"scopes": wanted, "expires_at": expires_at, "allowed_ips": addresses, "prefix": key.prefix}
        record("accounts.key_create", actor=actor, target=_target(key), after=after)
    return key, secret


def own_key(user: User, key_id: Any) -> ApiKey:
    """One of a person's own. Raises NotFound."""
    key = ApiKey.objects.filter(pk=key_id, user=user).first()
    if key is None:
        raise NotFound("There is no such key.")
    return key


def delete_key(user: User, key_id: Any, *, actor: Actor) -> None:
    """End one of a person's keys, and the sockets it opened. Raises NotFound."""
    with transaction.atomic():
        key = ApiKey.objects.select_for_update().filter(pk=key_id, user=user).first()
        if key is None:
            raise NotFound("There is no such key.")
        target, before = _target(key), {"prefix": key.prefix, "scopes": key.scopes}
        key.delete()
        record("accounts.key_delete", actor=actor, target=target, before=before)
        live.on_commit_publish(f"user:{user.pk}", {"type": "key_ended", "key": target.id})


def looks_like_key(text: str) -> bool:
    """Told by its mark, before any look at the database."""
    return text.startswith(MARK)


def alive() -> Any:
    """Keys that are not over, with their owners."""
    unexpired = Q(expires_at=None) | Q(expires_at__gt=clock.now())
    return ApiKey.objects.select_related("user", "user__role").filter(unexpired, user__is_active=True)


def _allowed(key: ApiKey, address: str | None) -> bool:
    if not key.allowed_ips:
        return True
    try:
        peer = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return any(peer in ipaddress.ip_network(entry) for entry in key.allowed_ips)


def _refuse(address: str | None) -> NotSignedIn | TooMany:
    """Count a wrong key on its address. Only wrong ones count, so a neighbour's flood never shuts out a good key (E09)."""
    count, window = settings.RATE_LIMITS["api_key_address"]
    try:
        verdict = Limit("api_key_address", count, window).hit(address or "local")
    except LimiterDown:
        verdict = None  # 255 bits are not guessed; the limit only spares the database
    if verdict is not None and not verdict.allowed:
        return too_many(f"Too many wrong keys from your address: wait {verdict.reset_seconds} seconds.", verdict)
    return NotSignedIn("The API key is wrong, has ended, or may not be used from your address.", code="token_invalid")


def user_for_key(secret: str, *, address: str | None) -> User:
    """The key's owner, with `api_key` set: `accounts.access.capabilities_of` then gives the owner's rights cut to the scopes.

    Raises:
        NotSignedIn: unknown, deleted, expired, from another address, owner deactivated. TooMany: too many wrong ones from this address.
    """
    sound = len(secret) == _LENGTH and secret.isascii() and secret[len(MARK) :].isalnum()
    key: ApiKey | None = one(alive().filter(prefix=secret[: len(MARK) + _PREFIX_CHARS])) if sound else None
    matches = constant_time_compare(_digest(secret), key.digest if key is not None else "0" * 64)
    if key is None or not matches or not _allowed(key, address):
        raise _refuse(address)
    now = clock.now()
    if key.last_used_at is None or now - key.last_used_at > _USED_EVERY:
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=now), pk=key.pk).update(last_used_at=now)
    return _carry(key)


def still_good(user: User) -> User | None:
    """For open sockets: the same person as of now, with the same key; None if key or account has ended."""
    assert user.api_key is not None
    return holder(user.api_key.pk)


def holder(key_id: Any) -> User | None:
    """The owner of a key by its id, carrying it; None if key or account has ended."""
    key: ApiKey | None = one(alive().filter(pk=key_id))
    return _carry(key) if key is not None else None


def _carry(key: ApiKey) -> User:
    user: User = key.user
    user.api_key = key
    return user
