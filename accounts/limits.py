"""Counting tries at the doors that guard secrets. Every try is counted before it is looked at (E07-E10)."""

from __future__ import annotations

import hashlib
import unicodedata

from django.conf import settings
from django.db.models import Q

from accounts.models import User
from lormas.common.errors import Problem, TooMany
from lormas.common.ratelimit import Limit, LimiterDown, Verdict


class LimiterAway(Problem):
    """503: doors that guard secrets stay shut while nobody counts the tries."""

    status, code, title = 503, "try_again", "Try again"


def limit(name: str) -> Limit:
    """One of `settings.RATE_LIMITS`."""
    count, window = settings.RATE_LIMITS[name]
    return Limit(name, count, window)


Door = tuple[Limit, str]


def knock(*doors: Door) -> Verdict:
    """Count a try at each door; the tightest verdict. Raises TooMany, LimiterAway."""
    try:
        verdicts = [door.hit(subject) for door, subject in doors]
    except LimiterDown as error:
        raise LimiterAway("This is not possible for a moment; try again in a few seconds.", extra={"retry_after": 3}) from error
    shut = [verdict for verdict in verdicts if not verdict.allowed]
    if shut:
        longest = max(shut, key=lambda verdict: verdict.reset_seconds)
        raise too_many(f"Too many tries: wait {longest.reset_seconds} seconds.", longest)
    return min(verdicts, key=lambda verdict: verdict.remaining)


def too_many(detail: str, verdict: Verdict) -> TooMany:
    """A refusal that says when to come back, in its body and its headers."""
    refusal = TooMany(detail, extra={"retry_after": verdict.reset_seconds})
    refusal.verdict = verdict
    return refusal


def give_back(*doors: Door) -> None:
    """The try was none: it was right."""
    for door, subject in doors:
        door.give_back(subject)


def plain(text: str) -> str:
    """A name or address as it is compared: what looks the same is the same."""
    return unicodedata.normalize("NFKC", text.strip()).casefold()


def hashed(text: str) -> str:
    """What somebody typed, as a subject that tells nothing."""
    return hashlib.blake2s(plain(text).encode(errors="replace")).hexdigest()


def account_named(login: str) -> User | None:
    """Whose address or username this is. A name that only the database takes for the same one (Turkish i and the like) is nobody's, for it
    would be counted apart."""
    found = User.objects.select_related("role").filter(Q(email__iexact=login) | Q(username__iexact=login)).order_by("created_at").first()
    return found if found is not None and plain(login) in (plain(found.email), plain(found.username)) else None


def forget_account(user: User) -> None:
    """Its password is a new one: wrong tries at the old one count no more."""
    for name in {hashed(user.email), hashed(user.username)}:
        limit("sign_in_account").forget(name)
