"""Mail that is due. A row first, sent on commit by a task and else by the sweep; a mail server that is away only delays it (R49).

Links are made when a letter is sent, so no row, no broker message and no log holds one (I02).
"""

from __future__ import annotations

import smtplib
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db.models import F
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

from accounts.letter_texts import TEXTS, Stale, Text
from accounts.models import Letter, User
from lormas.common import clock
from lormas.common.jobs import enqueue_on_commit

log = structlog.get_logger(__name__)
TASK: Final = "accounts.tasks.send_letters"
LEASE: Final = timedelta(minutes=3)
"""Longer than one sending may take; a process that died in it leaves the letter to the next sweep."""
MAX_TRIES: Final = 14
_FIRST_WAIT_SECONDS: Final = 20
_LONGEST_WAIT_SECONDS: Final = 1800
KEPT: Final = timedelta(days=30)


def post(kind: str, *, user: User | None, address: str = "", values: dict[str, Any] | None = None) -> Letter:
    """Write a letter inside the caller's transaction; it goes out after the commit. `user` None: to nobody, for the same work."""
    if kind not in TEXTS:
        raise KeyError(f"{kind} is not in accounts.letter_texts")
    now = clock.now()
    letter = Letter.objects.create(kind=kind, user=user, address=address, values=values or {}, created_at=now, due_at=now)
    enqueue_on_commit(TASK)
    return letter


def notify(kind: str, *, user: User, address: str = "", values: dict[str, Any] | None = None) -> None:
    """A letter that only tells; where mail is printed on a console, that would tell nobody."""
    if not settings.EMAIL_BACKEND.endswith("console.EmailBackend"):
        post(kind, user=user, address=address, values=values)


def send_due(*, limit: int = 50) -> int:
    """Send what is due; returns how many went out. Any number of processes may do it at the same time."""
    sent = 0
    for letter in Letter.objects.filter(due_at__lte=clock.now()).select_related("user").order_by("due_at")[:limit]:
        if _claim(letter):
            sent += _send(letter)
    return sent


def _claim(letter: Letter) -> bool:
    leased = clock.now() + LEASE
    won = Letter.objects.filter(pk=letter.pk, due_at=letter.due_at).update(due_at=leased, tries=F("tries") + 1)
    letter.due_at = leased
    letter.tries += 1
    return bool(won)


def _settle(letter: Letter, *, due_at: datetime | None = None, sent: bool = False, error: str = "") -> None:
    Letter.objects.filter(pk=letter.pk).update(due_at=due_at, sent_at=clock.now() if sent else None, error=error[:255])


def _send(letter: Letter) -> bool:
    if letter.user is None:
        Letter.objects.filter(pk=letter.pk).delete()
        return False
    try:
        with translation.override(settings.LANGUAGE_CODE):
            message = _message(letter)
    except Stale as why:
        _settle(letter, error=str(why))
        return False
    try:
        message.send()
    except (OSError, smtplib.SMTPException) as error:
        _later(letter, error)
        return False
    _settle(letter, sent=True)
    return True


def _later(letter: Letter, error: Exception) -> None:
    refused = isinstance(error, smtplib.SMTPRecipientsRefused) and all(500 <= code < 600 for code, _ in error.recipients.values())
    over = refused or letter.tries >= MAX_TRIES
    wait = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** (letter.tries - 1))
    log.warning("letters.not_sent", letter=str(letter.pk), kind=letter.kind, tries=letter.tries, given_up=over, error=type(error).__name__)
    _settle(letter, due_at=None if over else clock.now() + timedelta(seconds=wait), error=type(error).__name__)


def _plain(text: Text, *, name: str) -> str:
    parts = [_("Hello %(name)s,") % {"name": name}, *text.lines]
    if text.url:
        parts.append(f"{text.button}:\n{text.url}")
    if text.after:
        parts.append(text.after)
    return "\n\n".join([*parts, f"-- \nLormas, {settings.PUBLIC_URL}"])


def _message(letter: Letter) -> EmailMultiAlternatives:
    assert letter.user is not None
    text = TEXTS[letter.kind](letter.user, letter.values, letter.address)
    context = {"letter": text, "name": letter.user.label, "panel": settings.PUBLIC_URL}
    message = EmailMultiAlternatives(
        subject=" ".join(text.subject.split()),  # C12: nothing of it begins a header of its own
        body=_plain(text, name=letter.user.label),
        to=[letter.address or letter.user.email],
        # The same however often it is tried: a mailbox shows one where a server took it and then hung up.
        headers={"Message-ID": f"<{letter.pk}@lormas>", "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(render_to_string("accounts/mail/letter.html", context), "text/html")
    return message


def forget_old(*, limit: int = 1000) -> int:
    """Retention: rows of letters that were settled a month ago."""
    old = list(Letter.objects.filter(due_at=None, created_at__lt=clock.now() - KEPT).values_list("pk", flat=True)[:limit])
    return Letter.objects.filter(pk__in=old).delete()[0] if old else 0
