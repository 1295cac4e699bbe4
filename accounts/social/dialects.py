"""What providers say of a person, read strictly. Pure.

Only a JSON `true` makes an address verified: a text "false" is not to be taken for yes (E12). The id is the provider's number, never a name
that somebody else may take tomorrow (E14).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

MAX_ADDRESSES: Final = 50


class Nonsense(ValueError):
    """The answer of a provider has another shape than its documents say."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Who a provider says somebody is."""

    provider: str
    uid: str
    login: str
    name: str
    email: str
    """The address that the provider verified, its main one if several; empty: none."""


def _text(value: Any, *, limit: int = 128) -> str:
    return " ".join(value.split())[:limit] if isinstance(value, str) else ""


def _uid(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not (0 < len(text) <= 40 and text.isascii() and text.isdigit()):
        raise Nonsense("no numeric id")
    return text


def _email(value: Any) -> str:
    text = value.strip().lower() if isinstance(value, str) else ""
    try:
        validate_email(text)
    except ValidationError:
        return ""
    return text if len(text) <= 254 else ""


def github(user: Any, emails: Any) -> Answer:
    """Of `GET /user` and `GET /user/emails` (None: not allowed to see)."""
    if not isinstance(user, dict):
        raise Nonsense("no object")
    rows = [row for row in emails if isinstance(row, dict)][:MAX_ADDRESSES] if isinstance(emails, list) else []
    verified = [(row.get("primary") is True, _email(row.get("email"))) for row in rows if row.get("verified") is True]
    best = next((email for primary, email in sorted(verified, key=lambda pair: not pair[0]) if email), "")
    return Answer("github", _uid(user.get("id")), _text(user.get("login")), _text(user.get("name")), best)


def discord(user: Any) -> Answer:
    """Of `GET /users/@me`."""
    if not isinstance(user, dict):
        raise Nonsense("no object")
    email = _email(user.get("email")) if user.get("verified") is True else ""
    return Answer("discord", _uid(user.get("id")), _text(user.get("username")), _text(user.get("global_name")), email)
