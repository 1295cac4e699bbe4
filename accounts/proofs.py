"""Links that prove something: that one reads mail at an address, or may choose a new password. Signed, bound to the state they were made in.

Each ends by being used, for using it changes what it is bound to; and by time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.models import User
from lormas.common.errors import FieldError, Refused

VERIFY_SECONDS: Final = 3 * 86_400
CHANGE_SECONDS: Final = 86_400
MAX_CHARS: Final = 1024
INVITE_SECONDS: Final = 7 * 86_400
_VERIFY, _CHANGE, _INVITE = "accounts.proofs.verify", "accounts.proofs.change", "accounts.proofs.invite"


def link(path: str, token: str) -> str:
    """A whole address, from the configured one: never from what a request says of itself (E16)."""
    return f"{settings.PUBLIC_URL}{path}/{token}"


def refused() -> Refused:
    """The same for a forged, a used and an old link."""
    said = "This link was used already, or is too old: ask for a new one."
    return Refused(said, code="link_invalid", errors=[FieldError("token", said, "link_invalid")])


def password_mark(user: User) -> str:
    """Changes with the password; tells nothing of it."""
    return salted_hmac("accounts.proofs.password", user.password, algorithm="sha256").hexdigest()[:24]


def _load(token: str, *, salt: str, seconds: int) -> dict[str, Any]:
    if not 0 < len(token) <= MAX_CHARS:
        raise refused()
    try:
        found = signing.loads(token, salt=salt, max_age=seconds)
    except signing.BadSignature as error:
        raise refused() from error
    return found if isinstance(found, dict) else {}


def _user(text: Any) -> User:
    try:
        user = User.objects.select_related("role").filter(pk=UUID(str(text)), is_active=True).first()
    except ValueError:
        user = None
    if user is None:
        raise refused()
    return user


def for_verification(user: User) -> str:
    """Proof for a fresh account's address, bound to its password: whoever signs up with this address anew makes it void."""
    return signing.dumps({"u": str(user.pk), "e": user.email, "p": password_mark(user)}, salt=_VERIFY)


def read_verification(token: str) -> User:
    """Whose address it proves. Raises Refused (code link_invalid)."""
    claims = _load(token, salt=_VERIFY, seconds=VERIFY_SECONDS)
    user = _user(claims.get("u"))
    if not user.must_verify_email or claims.get("e") != user.email or not constant_time_compare(str(claims.get("p")), password_mark(user)):
        raise refused()
    return user


@dataclass(frozen=True, slots=True)
class Change:
    """A person and the address they wish to have."""

    user: User
    email: str


def for_change(user: User, email: str) -> str:
    """Proof for a new address of an account."""
    return signing.dumps({"u": str(user.pk), "o": user.email, "n": email, "p": password_mark(user)}, salt=_CHANGE)


def read_change(token: str) -> Change:
    """Raises Refused (code link_invalid)."""
    claims = _load(token, salt=_CHANGE, seconds=CHANGE_SECONDS)
    user = _user(claims.get("u"))
    wanted = claims.get("n")
    if claims.get("o") != user.email or not isinstance(wanted, str) or not constant_time_compare(str(claims.get("p")), password_mark(user)):
        raise refused()
    return Change(user, wanted)


def for_invitation(user: User) -> str:
    """Lets the one who reads this mailbox take the account into use; void once a password was chosen, or another invitation was sent."""
    return signing.dumps({"u": str(user.pk), "e": user.email, "p": password_mark(user)}, salt=_INVITE)


def read_invitation(token: str) -> User:
    """Whose account waits. Raises Refused (code link_invalid)."""
    claims = _load(token, salt=_INVITE, seconds=INVITE_SECONDS)
    user = _user(claims.get("u"))
    if not user.is_invited or claims.get("e") != user.email or not constant_time_compare(str(claims.get("p")), password_mark(user)):
        raise refused()
    return user


def for_reset(user: User) -> str:
    """Lets its holder choose a new password; void once the password, the address or the last sign-in changed."""
    return f"{user.pk.hex}.{default_token_generator.make_token(user)}"


def read_reset(token: str) -> User:
    """Raises Refused (code link_invalid)."""
    head, _, tail = token.partition(".")
    if not 0 < len(token) <= MAX_CHARS or not tail:
        raise refused()
    user = _user(head)
    if not default_token_generator.check_token(user, tail):
        raise refused()
    return user
