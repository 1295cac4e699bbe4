"""The acts of accounts: sign up, in and out, change a password or a profile. Doors parse and ask; these decide and write."""

from __future__ import annotations

import secrets
from typing import Any, Final

import structlog
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from accounts import letters, limits, second_factor, tokens
from accounts.backends import EmailOrUsernameBackend
from accounts.models import AuthSession, Role, User
from accounts.seeding import forget_first_password
from audit.services import ANONYMOUS, Actor, Target, record
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, NotSignedIn, Refused

log = structlog.get_logger(__name__)
MAX_PASSWORD_CHARS: Final = 1024
BAD_CREDENTIALS: Final = "The name or the password is wrong."
BAD_CREDENTIALS_OR_UNPROVEN: Final = "The name or the password is wrong, or the address is not confirmed yet."


def told_by(actor: Actor) -> dict[str, str]:
    """What a letter says of an act: from where, and when."""
    return {"from": actor.address or "", "time": clock.now().strftime("%Y-%m-%d %H:%M UTC")}


def target_of(user: User) -> Target:
    """An account as the journal names it."""
    return Target("user", str(user.pk), user.label)


def check_credentials(*, login: str, password: str, address: str | None) -> User:
    """The person, or a refusal that is the same for a wrong name, a wrong password, a deactivated account and an unproven address (E11).

    Every try is counted before it is looked at, per name and per address; a success gives its own count back and nothing more (E10).
    A second factor, where there is one, is still to be asked for.

    Raises:
        NotSignedIn (code bad_credentials), TooMany, LimiterAway.
    """
    login = login.strip()
    # By the name that was typed, known or not: one count for both names of an account would tell that they belong together (E11).
    doors = ((limits.limit("sign_in_account"), limits.hashed(login)), (limits.limit("sign_in_address"), address or "local"))
    verdict = limits.knock(*doors)
    user = EmailOrUsernameBackend().authenticate(None, username=login, password=password)  # ours alone: others would tell by their time
    unproven = user is not None and must_verify(user)
    if user is None or unproven:
        known = user or limits.account_named(login)
        why = "address not confirmed" if unproven else "wrong name or password"
        record("accounts.sign_in", actor=ANONYMOUS, target=target_of(known) if known else None, outcome="refused", message=why)
        refusal = NotSignedIn(BAD_CREDENTIALS_OR_UNPROVEN if settings.EMAIL_VERIFICATION else BAD_CREDENTIALS, code="bad_credentials")
        refusal.verdict = verdict
        raise refusal
    limits.give_back(*doors)
    return user


def must_verify(user: User) -> bool:
    """Did they sign up with an address that they still have to prove?"""
    return bool(settings.EMAIL_VERIFICATION and user.must_verify_email)


def second_step(user: User, *, code: str | None, address: str | None) -> None:
    """For programs that sign in: the code of somebody who has a second factor.

    Raises NotSignedIn (codes code_required, code_wrong), TooMany.
    """
    if not second_factor.has(user):
        return
    if not code:
        detail = "This account has a second factor: send `code` too, from the authenticator app or a recovery code."
        raise NotSignedIn(detail, code="code_required")
    second_factor.check_code(user, code, address=address)


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


def own_sessions(user: User) -> QuerySet[AuthSession]:
    """A person's sessions that are not over, of browsers and of programs."""
    return AuthSession.objects.filter(user=user, revoked_at=None, expires_at__gt=clock.now())


def own_session(user: User, session_id: Any) -> AuthSession:
    """One of a person's own sessions, unless it is over. Raises NotFound."""
    session = own_sessions(user).select_related("user").filter(pk=session_id).first()
    if session is None:
        raise NotFound("There is no such session.")
    return session


def end_session(user: User, session_id: Any, *, actor: Actor) -> None:
    """End one of a person's own sessions. Raises NotFound."""
    sign_out(own_session(user, session_id), actor=actor)


def end_other_sessions(user: User, *, keep: AuthSession, actor: Actor) -> int:
    """End all of a person's sessions but one, of browsers and programs; API keys live on. Returns how many."""
    with transaction.atomic():
        ended = tokens.revoke_all(user, why="ended_by_owner", keep=keep)
        record("accounts.sign_out", actor=actor, target=target_of(user), before={"sessions": ended})
    return ended


def checked_password(password: str, *, user: User, field: str = "password") -> str:
    """The password, if it keeps the rules. Raises Invalid (too long), Refused."""
    if len(password) > MAX_PASSWORD_CHARS:
        raise Invalid("The password is too long.", errors=[FieldError(field, f"At most {MAX_PASSWORD_CHARS} characters.", "max_length")])
    try:
        validate_password(password, user)
    except ValidationError as error:
        codes = [str(getattr(one, "code", "") or "invalid") for one in error.error_list]
        errors = [FieldError(field, message, code) for message, code in zip(error.messages, codes, strict=True)]
        raise Refused(" ".join(error.messages), errors=errors) from error
    return password


def free_username(email: str) -> str:
    """A username for somebody who gave none."""
    stem = "".join(c for c in email.partition("@")[0] if c.isalnum() or c in "._-")[:64] or "user"
    if not User.objects.filter(username__iexact=stem).exists():
        return stem
    return f"{stem}-{secrets.token_hex(4)}"


def sign_up(*, email: str, password: str, name: str, username: str, address: str | None) -> User | None:
    """A new account with `SIGNUP_ROLE`; None where the address must be proved first (`EMAIL_VERIFICATION`).

    None says nothing of whether the address was known here: its owner gets mail either way (E11, E13).

    Raises:
        Forbidden: sign-up is off. Refused: the password breaks a rule. Conflict: (without verification) the names can't be used. TooMany.
    """
    if not settings.SIGNUP_ENABLED:
        raise Forbidden("Sign-up is off here: ask an administrator for an account.", code="sign_up_disabled")
    email, username = email.strip().lower(), username.strip()
    doors = [(limits.limit("sign_up_address"), address or "local")]
    if settings.EMAIL_VERIFICATION:
        doors.append((limits.limit("mail_account"), limits.hashed(email)))
    limits.knock(*doors)
    draft = User(email=email, username=username or email, name=name.strip())
    checked_password(password, user=draft)
    role = Role.objects.filter(slug=settings.SIGNUP_ROLE).first()
    if role is None:
        log.error("accounts.signup_role_missing", role=settings.SIGNUP_ROLE)
        raise Forbidden("Sign-up is not set up: ask an administrator.", code="sign_up_disabled")
    if settings.EMAIL_VERIFICATION:
        _sign_up_by_mail(draft, password, role=role, username=username, address=address)
        return None
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
        raise Conflict(detail, code="unavailable", errors=[FieldError("", detail, "unavailable")]) from None
    return user


def _sign_up_by_mail(draft: User, password: str, *, role: Role, username: str, address: str | None) -> None:
    """All that can be told apart is told by mail, to the one who reads it."""
    hashed = make_password(password)
    try:
        with transaction.atomic():
            known = User.objects.select_for_update().filter(Q(email__iexact=draft.email) | Q(username__iexact=draft.email)).first()
            if known is None:
                if not username or User.objects.filter(Q(username__iexact=username) | Q(email__iexact=username)).exists():
                    username = free_username(username or draft.email)
                known = User(email=draft.email, username=username, name=draft.name, role=role, password=hashed, must_verify_email=True)
                known.save(force_insert=True)
                record("accounts.sign_up", actor=known.as_actor(address), target=target_of(known), after={"role": role.slug})
            elif known.must_verify_email and known.email == draft.email:
                # Nobody proved it yet, so nobody owns it: the last one's password counts, and earlier links are void (E13).
                User.objects.filter(pk=known.pk).update(password=hashed, name=draft.name)
                record("accounts.sign_up", actor=known.as_actor(address), target=target_of(known), message="once more, before a confirmation")
            letters.post("verify" if known.must_verify_email else "known", user=known)
    except IntegrityError:
        log.info("accounts.sign_up_raced")  # the other one's mail is on its way


def change_password(user: User, *, old: str | None, new: str, keep: AuthSession | None, actor: Actor) -> None:
    """Set a new password; ends all other sessions and tokens. `old` None: it was proved otherwise, or there was none.

    The caller keeps its cookie session by `update_session_auth_hash`.

    Raises:
        Refused (codes bad_credentials, and what a rule says), TooMany.
    """
    if old is not None:
        guard = (limits.limit("sign_in_account"), f"password:{user.pk}")
        limits.knock(guard)
        if not user.check_password(old):
            record("accounts.password", actor=actor, target=target_of(user), outcome="refused", message="wrong old password")
            wrong = FieldError("old_password", "It is wrong.", "bad_credentials")
            raise Refused("The old password is wrong.", code="bad_credentials", errors=[wrong])
        limits.give_back(guard)
        if old == new:
            raise Refused("The new password is the old one.", errors=[FieldError("password", "Choose another one.", "unchanged")])
    checked_password(new, user=user)
    with transaction.atomic():
        user.set_password(new)
        user.must_change_password = False
        user.save(update_fields=["password", "must_change_password", "updated_at"])
        ended = tokens.revoke_all(user, why="password_change", keep=keep)
        record("accounts.password", actor=actor, target=target_of(user), after={"sessions_ended": ended})
        letters.notify("password_changed", user=user, values=told_by(actor))
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
    limits.forget_account(user)
    return fresh


def update_profile(user: User, *, changes: dict[str, str], actor: Actor) -> User:
    """Change `name`, `username`, `time_zone`. Raises Conflict (code unavailable) where the username is taken."""
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
        raise Conflict(
            "This username can't be used.", code="unavailable", errors=[FieldError("username", "It can't be used.", "unavailable")]
        ) from None
    return user
