"""What keeps a signed-in person from everything but the door to mend it: a password that must be changed, a second factor that is missing.

One rule for pages, API and sockets (E05). API keys are held with their owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from accounts import second_factor
from accounts.models import User


@dataclass(frozen=True, slots=True)
class Hold:
    """Why, and what to do about it."""

    code: str
    detail: str
    page: str
    """Name of the page that mends it."""
    pages: frozenset[str]
    """Pages that are open meanwhile, by name; all others lead to `page`."""
    routes: frozenset[str]
    """API routes that are open meanwhile, by name."""


_ALWAYS: Final = frozenset({"accounts-session", "accounts-me", "accounts-sign-out", "accounts-logout", "accounts-whoami", "root", "health"})
PASSWORD: Final = Hold(
    code="password_change_required",
    detail="Change your password first: PUT /api/auth/password {old_password, password}.",
    page="accounts:password",
    pages=frozenset({"accounts:password", "accounts:logout"}),
    routes=_ALWAYS | {"accounts-password"},
)
FACTOR: Final = Hold(
    code="second_factor_required",
    detail="This panel asks for a second factor: set one up at POST /api/auth/second-factor/totp, or on the page /settings.",
    page="accounts:settings",
    pages=frozenset(
        {
            "accounts:settings",
            "accounts:totp",
            "accounts:codes",
            "accounts:passkey-options",
            "accounts:passkey-add",
            "accounts:confirm",
            "accounts:confirm-options",
            "accounts:confirm-passkey",
            "accounts:logout",
        }
    ),
    routes=_ALWAYS | {"accounts-confirm", "accounts-factor", "accounts-totp", "accounts-recovery-codes"},
)


def needs_second_factor(user: User) -> bool:
    """Does the panel's policy (`SECOND_FACTOR`) ask this person for one?"""
    if settings.SECOND_FACTOR == "everyone":
        return True
    return settings.SECOND_FACTOR == "administrators" and second_factor.is_administrator(user)


def hold_of(user: Any) -> Hold | None:
    """What holds this person back now; None: nothing. Asks the database only where the policy asks for a second factor."""
    if not isinstance(user, User):
        return None
    user = user.impersonator or user  # who really sits there
    if user.must_change_password:
        return PASSWORD
    if needs_second_factor(user) and not second_factor.has(user):
        return FACTOR
    return None
