"""The acts of accounts: sign up, in and out, change a password or a profile. Doors parse and ask; these decide and write."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Final

import structlog
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from accounts import tokens
from accounts.backends import EmailOrUsernameBackend
from accounts.models import AuthSession, Role, User
from accounts.seeding import forget_first_password
from audit.services import ANONYMOUS, Actor, Target, record
from lormas.common import live
from lormas.common.errors import FieldError, Forbidden, Invalid, NotFound, NotSignedIn, Problem, TooMany
from lormas.common.ratelimit import Limit, LimiterDown, Verdict

log = structlog.get_logger(__name__)
MAX_PASSWORD_CHARS: Final = 1024
BAD_CREDENTIALS: Final = "The name or the password is wrong."


class LimiterAway(Problem):
    """503: doors that guard secrets stay shut while nobody counts the tries."""

    status, code, title = 503, "try_again", "Try again"


def target_of(user: User) -> Target:
    """An account as the journal names it."""
    return Target("user", str(user.pk), user.label)


def _limit(name: str) -> Limit:
    count, window = settings.RATE_LIMITS[name]
    return Limit(name, count, window)


def _knock(*doors: tuple[Limit, str]) -> Verdict:
    """Count a try at each door; the tightest verdict. Raises TooMany, LimiterAway."""
    try:
        verdicts = [limit.hit(subject) for limit, subject in doors]
    except LimiterDown as error:
        raise LimiterAway("Sign-in is not possible for a moment; try again in a few seconds.", extra={"retry_after": 3}) from error
    shut = [verdict for verdict in verdicts if not verdict.allowed]
    if shut:
        wait = max(verdict.reset_seconds for verdict in shut)
        raise TooMany(f"Too many tries: wait {wait} seconds.", extra={"retry_after": wait})
    return min(verdicts, key=lambda verdict: verdict.remaining)


def _account_subject(login: str) -> tuple[str, User | None]:
    """What the per-account count is kept under: the account however it is spelled, else the name typed (E07, E11)."""
    user = User.objects.filter(Q(email__iexact=login) | Q(username__iexact=login)).order_by("created_at").first()
    typed = hashlib.blake2s(login.lower().encode(errors="replace")).hexdigest()
    return (f"user:{user.pk}", user) if user else (f"name:{typed}", None)


def check_credentials(*, login: str, password: str, address: str | None) -> User:
    """The person, or a refusal that is the same for a wrong name, a wrong password and a deactivated account (E11).

    Every try is counted before it is looked at, per account and per address; a success gives its own count back and nothing more (E10).

    Raises:
        NotSignedIn (code bad_credentials), TooMany, LimiterAway.
    """
    login = login.strip()
    subject, known = _account_subject(login)
    doors = ((_limit("sign_in_account"), subject), (_limit("sign_in_address"), address or "local"))
    _knock(*doors)
    user = EmailOrUsernameBackend().authenticate(None, username=login, password=password)  # ours alone: others would tell by their time
    if user is None:
        record("accounts.sign_in", actor=ANONYMOUS, target=target_of(known) if known else None, outcome="refused", message="wrong name or password")
        raise NotSignedIn(BAD_CREDENTIALS, code="bad_credentials")
    for limit, name in doors:
        limit.give_back(name)
    return user


def sign_in(user: User, *, address: str | None, user_agent: str) -> tokens.Pair:
    """A token session for somebody whose credentials were checked."""
    with transaction.atomic():
        pair = tokens.issue(user, address=address, user_agent=user_agent)
        record("accounts.sign_in", actor=user.as_actor(address), target=target_of(user), after={"session": str(pair.session.pk), "by": "token"})
    return pair


def sign_out(session: AuthSession, *, actor: Actor) -> None:
    """End a token session: its refresh family and its access tokens."""
    with transaction.atomic():
        if tokens.revoke(session, why="sign_out"):
            record("accounts.sign_out", actor=actor, target=target_of(session.user), before={"session": str(session.pk)})


def end_session(user: User, session_id: Any, *, actor: Actor) -> None:
    """End one of a person's own sessions. Raises NotFound."""
    session = AuthSession.objects.select_related("user").filter(pk=session_id, user=user, revoked_at=None).first()
    if session is None:
        raise NotFound("There is no such session.")
    sign_out(session, actor=actor)


def checked_password(password: str, *, user: User, field: str = "password") -> str:
    """The password, if it keeps the rules. Raises Invalid."""
    if len(password) > MAX_PASSWORD_CHARS:
        raise Invalid("The password is too long.", errors=[FieldError(field, f"At most {MAX_PASSWORD_CHARS} characters.", "max_length")])
    try:
        validate_password(password, user)
    except ValidationError as error:
        codes = [str(getattr(one, "code", "") or "invalid") for one in error.error_list]
        errors = [FieldError(field, message, code) for message, code in zip(error.messages, codes, strict=True)]
        raise Invalid(" ".join(error.messages), errors=errors) from error
    return password


def free_username(email: str) -> str:
    """A username for somebody who gave none."""
    stem = "".join(c for c in email.partition("@")[0] if c.isalnum() or c in "._-")[:64] or "user"
    if not User.objects.filter(username__iexact=stem).exists():
        return stem
    return f"{stem}-{secrets.token_hex(4)}"


def sign_up(*, email: str, password: str, name: str, username: str, address: str | None) -> User:
    """A new account with `SIGNUP_ROLE`.

    Raises:
        Forbidden: sign-up is off. Invalid: the password breaks a rule, or the names can't be used (never tells which: E11). TooMany.
    """
    if not settings.SIGNUP_ENABLED:
        raise Forbidden("Sign-up is off here: ask an administrator for an account.", code="sign_up_disabled")
    _knock((_limit("sign_up_address"), address or "local"))
    email, username = email.strip().lower(), username.strip()
    draft = User(email=email, username=username or email, name=name.strip())
    checked_password(password, user=draft)
    role = Role.objects.filter(slug=settings.SIGNUP_ROLE).first()
    if role is None:
        log.error("accounts.signup_role_missing", role=settings.SIGNUP_ROLE)
        raise Forbidden("Sign-up is not set up: ask an administrator.", code="sign_up_disabled")
    taken = Q(email__iexact=email) | Q(username__iexact=email)
    if username:
        taken |= Q(username__iexact=username) | Q(email__iexact=username)
    try:
        with transaction.atomic():
            if User.objects.filter(taken).exists():
                make_password(password)  # as much work as an account that is made
                raise IntegrityError
            user = User.objects.create_user(email, password, username=username or free_username(email), name=draft.name, role=role)
            record("accounts.sign_up", actor=user.as_actor(address), target=target_of(user), after={"role": role.slug})
    except IntegrityError:
        detail = "No account can be made with this e-mail address or username."
        raise Invalid(detail, code="unavailable", errors=[FieldError("", detail, "unavailable")]) from None
    return user


def change_password(user: User, *, old: str | None, new: str, keep: AuthSession | None, actor: Actor) -> None:
    """Set a new password; ends all other sessions and tokens. `old` None: an administrator's act.

    The caller keeps its cookie session by `update_session_auth_hash`.

    Raises:
        Invalid, TooMany.
    """
    if old is not None:
        guard = (_limit("sign_in_account"), f"password:{user.pk}")
        _knock(guard)
        if not user.check_password(old):
            record("accounts.password", actor=actor, target=target_of(user), outcome="refused", message="wrong old password")
            wrong = FieldError("old_password", "It is wrong.", "bad_credentials")
            raise Invalid("The old password is wrong.", code="bad_credentials", errors=[wrong])
        guard[0].give_back(guard[1])
        if old == new:
            raise Invalid("The new password is the old one.", errors=[FieldError("password", "Choose another one.", "unchanged")])
    checked_password(new, user=user)
    with transaction.atomic():
        user.set_password(new)
        user.must_change_password = False
        user.save(update_fields=["password", "must_change_password", "updated_at"])
        ended = tokens.revoke_all(user, why="password_change", keep=keep)
        record("accounts.password", actor=actor, target=target_of(user), after={"sessions_ended": ended})
    forget_first_password(user)


def reset_password(user: User, *, actor: Actor, message: str = "") -> str:
    """An administrator's reset: a random password that must be changed at sign-in; reactivates, ends all sessions. Returns it."""
    fresh = secrets.token_urlsafe(15)
    with transaction.atomic():
        user.set_password(fresh)
        user.must_change_password = user.is_active = True
        user.save(update_fields=["password", "must_change_password", "is_active", "updated_at"])
        User.objects.filter(pk=user.pk).update(token_generation=F("token_generation") + 1)
        tokens.revoke_all(user, why="password_reset")
        record("accounts.reset_password", actor=actor, target=target_of(user), message=message)
    forget_first_password(user)
    _limit("sign_in_account").forget(f"user:{user.pk}")
    return fresh


def update_profile(user: User, *, changes: dict[str, str], actor: Actor) -> User:
    """Change `name`, `username`, `time_zone`. Raises Invalid where the username is taken."""
    before = {name: getattr(user, name) for name in changes}
    for name, value in changes.items():
        setattr(user, name, value)
    try:
        with transaction.atomic():
            if "username" in changes and User.objects.filter(username__iexact=user.username).exclude(pk=user.pk).exists():
                raise IntegrityError
            user.save(update_fields=[*changes, "updated_at"])
            record("accounts.profile", actor=actor, target=target_of(user), before=before, after=changes)
    except IntegrityError:
        raise Invalid("This username can't be used.", errors=[FieldError("username", "It can't be used.", "unavailable")]) from None
    return user


def note_cookie_sign_in(user: User, *, address: str | None) -> None:
    """The journal's row for a sign-in by page; Django keeps the session itself."""
    record("accounts.sign_in", actor=user.as_actor(address), target=target_of(user), after={"by": "cookie"})


def note_cookie_sign_out(user: User) -> None:
    """The journal's row for a cookie session that was just ended; its sockets are told to look. Call it after the session is gone."""
    record("accounts.sign_out", actor=user.as_actor(), target=target_of(user), before={"by": "cookie"})
    live.on_commit_publish(f"user:{user.pk}", {"type": "session_ended", "session": None, "why": "sign_out"})
