"""Inviting people by e-mail: an account that waits, and a link that lets the one who reads that mailbox take it into use. Good once, for a week.

The link is made when the letter is sent and is told to nobody else (D14, I02). Inviting again makes the earlier link void.
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.crypto import constant_time_compare

from accounts import letters, limits, proofs
from accounts.access import require
from accounts.models import User
from accounts.people import check_free, check_reach, check_role, enter, role_named, taken
from accounts.services import checked_password, free_username, target_of
from audit.services import Actor, record
from lormas.common.errors import Conflict, NotFound


def _knock(by: User, email: str) -> None:
    limits.knock((limits.limit("mail_address"), f"invite:{by.pk}"), (limits.limit("mail_account"), limits.hashed(email)))


def invite(by: User, *, email: str, name: str = "", role: str | None = None, actor: Actor) -> User:
    """A new account that waits for its owner, and a letter to them.

    Args:
        role: slug or id; none: `SIGNUP_ROLE`. Another one takes `roles.manage`.

    Raises:
        Forbidden: the role holds what you lack. Refused: no such role. Conflict: the address is taken (code unavailable). TooMany, LimiterAway.
    """
    email = email.strip().lower()
    given = role_named(role or settings.SIGNUP_ROLE)
    if given.slug != settings.SIGNUP_ROLE:
        require(by, "roles.manage")
    check_role(by, given)
    check_free(email=email, username=None)
    _knock(by, email)
    try:
        with transaction.atomic():
            enter(by, "users.manage")
            user = User.objects.create_user(email, None, username=free_username(email), name=name.strip(), role=given)
            letters.post("invite", user=user, values={"by": by.label})
            record("accounts.invite", actor=actor, target=target_of(user), after={"email": email, "role": given.slug})
    except IntegrityError:
        raise taken() from None
    return user


def invite_again(by: User, user_id: UUID, *, actor: Actor) -> User:
    """Another letter with another link; the earlier one is void. Raises NotFound, Forbidden, Conflict (code not_invited), TooMany."""
    found = User.objects.filter(pk=user_id).first()
    if found is None:
        raise NotFound("There is no such account.")
    _knock(by, found.email)
    with transaction.atomic():
        fresh, _ = enter(by, "users.manage")
        user = User.objects.select_for_update(of=("self",)).select_related("role").get(pk=user_id)
        check_reach(fresh, user)
        if not user.is_invited or not user.is_active:
            raise Conflict(f"{user.label} has taken the account into use already, or is deactivated.", code="not_invited")
        user.set_unusable_password()  # a new mark: links of before are void
        user.save(update_fields=["password", "updated_at"])
        letters.post("invite", user=user, values={"by": by.label})
        record("accounts.invite", actor=actor, target=target_of(user), message="once more")
    return user


def accept(token: str, *, password: str, name: str, username: str, address: str | None) -> User:
    """Take the account into use: its password, and what it is called. Raises Refused (code link_invalid, or what breaks a rule), Conflict."""
    user = proofs.read_invitation(token)
    user.name, user.username = name.strip(), username.strip() or user.username
    checked_password(password, user=user)
    try:
        with transaction.atomic():
            locked = User.objects.select_for_update(of=("self",)).select_related("role").get(pk=user.pk)
            if not constant_time_compare(locked.password, user.password) or not locked.is_active:  # a second use at the same time
                raise proofs.refused()
            others = User.objects.exclude(pk=user.pk)
            if others.filter(Q(username__iexact=user.username) | Q(email__iexact=user.username)).exists():
                raise IntegrityError
            locked.name, locked.username = user.name, user.username
            locked.set_password(password)
            locked.verified_email, locked.must_verify_email = locked.email, False
            locked.save(update_fields=["name", "username", "password", "verified_email", "must_verify_email", "updated_at"])
            record("accounts.invite_accept", actor=locked.as_actor(address), target=target_of(locked), after={"username": locked.username})
    except IntegrityError:
        raise taken() from None
    return locked
