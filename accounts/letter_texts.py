"""What the panel's mails say: one function a kind. Pure but for the links, which are made here, at the last moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import proofs
from accounts.models import User
from lormas.common import clock


class Stale(Exception):
    """The letter's reason has passed: it is not sent."""


@dataclass(frozen=True, slots=True)
class Text:
    """A letter: what it is about, paragraphs, and at most one thing to do."""

    subject: str
    lines: tuple[str, ...]
    button: str = ""
    url: str = ""
    after: str = ""


def _verify(user: User, values: dict[str, Any], address: str) -> Text:
    if not user.must_verify_email or not user.is_active:
        raise Stale("confirmed already")
    return Text(
        subject=_("Confirm your address"),
        lines=(_("An account at Lormas was made with this address. Confirm that it is yours, and the account is ready."),),
        button=_("Confirm address"),
        url=proofs.link("/verify", proofs.for_verification(user)),
        after=_("The link is good for three days. If you made no account, do nothing: without this there is none."),
    )


def _known(user: User, values: dict[str, Any], address: str) -> Text:
    return Text(
        subject=_("You have an account already"),
        lines=(
            _("Somebody, probably you, tried to sign up with this address. There is an account with it already: %(username)s.")
            % {"username": user.username},
            _("Sign in with it, or choose a new password if you don't remember the old one. If it was not you, there is nothing to do."),
        ),
        button=_("Sign in"),
        url=settings.PUBLIC_URL + "/login",
    )


def _reset(user: User, values: dict[str, Any], address: str) -> Text:
    if not user.is_active:
        raise Stale("deactivated")
    return Text(
        subject=_("Choose a new password"),
        lines=(_("Somebody, probably you, asked for a new password for the account %(username)s.") % {"username": user.username},),
        button=_("Choose a new password"),
        url=proofs.link("/password/reset", proofs.for_reset(user)),
        after=_("The link is good for one hour, and once. If you did not ask for it, do nothing: your password stays as it is."),
    )


def _change(user: User, values: dict[str, Any], address: str) -> Text:
    if not user.is_active:
        raise Stale("deactivated")
    return Text(
        subject=_("Confirm your new address"),
        lines=(_("The account %(username)s shall have this address from now on. Confirm that it is yours.") % {"username": user.username},),
        button=_("Confirm new address"),
        url=proofs.link("/settings/email", proofs.for_change(user, address)),
        after=_("The link is good for one day. If you know nothing of this, do nothing."),
    )


def _address_taken(user: User, values: dict[str, Any], address: str) -> Text:
    return Text(
        subject=_("Your address was entered for another account"),
        lines=(_("Somebody tried to give this address to another account. It is that of your account %(username)s, so nothing was changed.")
               % {"username": user.username},),
    )  # fmt: skip


def _invite(user: User, values: dict[str, Any], address: str) -> Text:
    if not user.is_invited or not user.is_active:
        raise Stale("taken into use already")
    return Text(
        subject=_("You are invited to Lormas"),
        lines=(_("%(by)s made an account for you at %(panel)s. Choose a password, and it is yours.")
               % {"by": values.get("by") or _("An administrator"), "panel": settings.PUBLIC_URL},),
        button=_("Choose a password"),
        url=proofs.link("/invite", proofs.for_invitation(user)),
        after=_("The link is good for a week, and once. If you don't know who that is, do nothing."),
    )  # fmt: skip


def _notice(subject: str, line: str) -> Callable[[User, dict[str, Any], str], Text]:
    def text(user: User, values: dict[str, Any], address: str) -> Text:
        where = _("From the address %(address)s, at %(time)s.") % {"address": values.get("from") or _("unknown"), "time": values.get("time", "")}
        said = _(line) % {"username": user.username, "what": values.get("what", "")}
        return Text(
            subject=_(subject),
            lines=(said, where),
            button=_("Look at your sessions"),
            url=settings.PUBLIC_URL + "/settings/sessions",
            after=_("If that was not you, change your password at once: it ends all other sessions."),
        )

    return text


def _machines_end(user: User, values: dict[str, Any], address: str) -> Text:
    """`values`: machines (their names), ends_at (RFC 3339), path (of the reservation)."""
    end = clock.parse_rfc3339(str(values.get("ends_at", "")))
    left = (end - clock.now()).total_seconds() if end is not None else 0
    if end is None or left <= 0:
        raise Stale("over already")
    minutes = max(1, round(left / 60))
    return Text(
        subject=_("Your machines go in %(minutes)d minutes") % {"minutes": minutes},
        lines=(
            _("Your reservation of %(machines)s ends in %(minutes)d minutes, at %(time)s UTC.")
            % {"machines": values.get("machines", ""), "minutes": minutes, "time": f"{end.astimezone(UTC):%Y-%m-%d %H:%M}"},
            _("Accounts, files and processes on the machines are then removed: save what you need."),
        ),
        button=_("Extend or give back"),
        url=settings.PUBLIC_URL + str(values.get("path", "/reservations")),
    )


TEXTS: dict[str, Callable[[User, dict[str, Any], str], Text]] = {
    "verify": _verify,
    "known": _known,
    "reset": _reset,
    "email_change": _change,
    "email_taken": _address_taken,
    "invite": _invite,
    "password_changed": _notice(gettext_noop("Your password was changed"), gettext_noop("The password of the account %(username)s was changed.")),
    "email_changed": _notice(
        gettext_noop("Your address was changed"), gettext_noop("The account %(username)s has another e-mail address now: %(what)s.")
    ),
    "factor_changed": _notice(gettext_noop("Your second factor was changed"), gettext_noop("The account %(username)s: %(what)s.")),
    "machines_end": _machines_end,
    "connected": _notice(gettext_noop("A way to sign in was changed"), gettext_noop("The account %(username)s: %(what)s.")),
}
