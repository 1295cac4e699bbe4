"""The doors: who may do what. Objects enter request code only through doors like these (ARCHITECTURE rule 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.capabilities import CODES
from lormas.common.errors import Forbidden

if TYPE_CHECKING:
    from accounts.models import User


def capabilities_of(user: Any) -> frozenset[str]:
    """All global capabilities of a person; none for a stranger or a deactivated account. Cached on the instance.

    Where the person came by an API key, only those within its scopes, superuser or not.
    """
    if not getattr(user, "is_authenticated", False) or not user.is_active:
        return frozenset()
    cached: frozenset[str] | None = getattr(user, "_capabilities", None)
    if cached is None:
        cached = user._capabilities = rights_of(user)
    key = getattr(user, "api_key", None)
    return cached if key is None else cached & frozenset(key.scopes)


def rights_of(user: User) -> frozenset[str]:
    """What an account is given, whether or not it is active now and however it signed in."""
    if user.is_superuser:
        return CODES
    return frozenset(user.role.capabilities) & CODES if user.role is not None else frozenset()


def has(user: Any, capability: str) -> bool:
    """May this person do it (on what is theirs, for object-level capabilities)? Raises KeyError for a code that is not in the table."""
    if capability not in CODES:
        raise KeyError(f"{capability} is not in accounts.capabilities")
    return capability in capabilities_of(user)


def require(user: User | Any, capability: str) -> None:
    """Raises Forbidden unless `has`."""
    if not has(user, capability):
        if getattr(user, "api_key", None) is not None:
            raise Forbidden(f"This API key may not do that: {capability} is not in its scopes or not in your role.", extra={"capability": capability})
        raise Forbidden(f"Your role does not include {capability}: ask an administrator.", extra={"capability": capability})


def refuse_keys(user: Any) -> None:
    """For doors to credentials: a key that leaked must not make more of itself, nor lock its owner out. Raises Forbidden."""
    if getattr(user, "api_key", None) is not None:
        raise Forbidden("An API key can't do this: sign in.", code="key_not_enough")
