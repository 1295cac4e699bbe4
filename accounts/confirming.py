"""Showing once more who one is, before credentials are changed."""

from __future__ import annotations

from accounts import limits, second_factor, sessions
from accounts.models import AuthSession, User
from audit.services import record
from lormas.common.errors import FieldError, Refused


def confirm(user: User, session: AuthSession, *, password: str | None = None, code: str | None = None, address: str | None) -> None:
    """By the password or by a code. Every try is counted.

    Raises Refused (code bad_credentials), NotSignedIn (code code_wrong), TooMany.
    """
    if code:
        second_factor.check_code(user, code, address=address)
    else:
        door = (limits.limit("sign_in_account"), f"password:{user.pk}")
        limits.knock(door)
        if not password or not user.check_password(password):
            record("accounts.confirm", actor=user.as_actor(address), target=second_factor.target(user), outcome="refused", message="wrong password")
            raise Refused("The password is wrong.", code="bad_credentials", errors=[FieldError("password", "It is wrong.", "bad_credentials")])
        limits.give_back(door)
    sessions.confirm(session)
