"""What a provider's word is worth: whom it signs in, whom it makes, what it links.

An answer signs in whoever it is linked to. It links by itself only where both sides have proved the same address; else a person links it while
signed in (E12, E13).
"""

from __future__ import annotations

from typing import Final

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts import letters, limits, second_factor, tokens
from accounts.models import Role, User
from accounts.services import free_username, target_of, told_by
from accounts.social.dialects import Answer
from audit.services import ANONYMOUS, Actor, record
from lormas.common.errors import Conflict, Forbidden, NotFound

NAMES: Final = {"github": "GitHub", "discord": "Discord"}


def connections(user: User) -> list[SocialAccount]:
    """What signs this person in beside their password."""
    return list(SocialAccount.objects.filter(user_id=user.pk).order_by("date_joined"))


def _data(answer: Answer) -> dict[str, str]:
    return {"login": answer.login, "name": answer.name, "email": answer.email}  # no more of a profile than is shown


def _linked(answer: Answer) -> SocialAccount | None:
    return SocialAccount.objects.select_related("user", "user__role").filter(provider=answer.provider, uid=answer.uid).first()


def enter(answer: Answer, *, address: str | None) -> User:
    """Whom this answer signs in: the linked account, one that is linked now, or a new one.

    Raises:
        Forbidden (codes account_ended, sign_up_disabled, email_unverified), Conflict (code link_first), TooMany.
    """
    name = NAMES[answer.provider]
    known = _linked(answer)
    if known is not None:
        if not known.user.is_active:
            record("accounts.sign_in", actor=ANONYMOUS, target=target_of(known.user), outcome="refused", message=f"{name}: deactivated")
            raise Forbidden("This account is deactivated: ask an administrator.", code="account_ended")
        SocialAccount.objects.filter(pk=known.pk).update(extra_data=_data(answer))
        found: User = known.user
        return found
    if not answer.email:
        detail = f"{name} names no verified e-mail address: verify one there, or sign in here another way and connect {name} in your settings."
        raise Forbidden(detail, code="email_unverified")
    taken = User.objects.select_related("role").filter(Q(email__iexact=answer.email) | Q(username__iexact=answer.email)).first()
    return _make(answer, address=address) if taken is None else _link_by_address(answer, taken, address=address)


def _link_by_address(answer: Answer, user: User, *, address: str | None) -> User:
    name = NAMES[answer.provider]
    if user.email == answer.email and user.must_verify_email and user.is_active:
        return _take_over_unproven(answer, user, address=address)
    if not (user.is_active and user.email_is_verified and user.email == answer.email):
        record("accounts.connect", actor=ANONYMOUS, target=target_of(user), outcome="refused", message=f"{name}: address not verified here")
        detail = f"There is an account with this address already: sign in to it first, and connect {name} in your settings."
        raise Conflict(detail, code="link_first")
    if second_factor.is_administrator(user):  # whoever holds the mailbox of an administrator is not yet one
        raise Conflict(f"Sign in with your password first, and connect {name} in your settings.", code="link_first")
    return _link(answer, user, actor=user.as_actor(address))


def _take_over_unproven(answer: Answer, user: User, *, address: str | None) -> User:
    """Somebody signed up with this address and never proved it; now its owner came. The stranger's password is void (E13)."""
    with transaction.atomic():
        fresh = User.objects.select_for_update().get(pk=user.pk)
        if not fresh.must_verify_email:
            raise Conflict("This account was taken into use meanwhile: sign in to it first.", code="link_first")
        fresh.set_unusable_password()
        fresh.must_verify_email, fresh.verified_email = False, fresh.email
        fresh.token_generation += 1
        fresh.save(update_fields=["password", "must_verify_email", "verified_email", "token_generation", "updated_at"])
        tokens.revoke_all(fresh, why="address_proved")
        return _link(answer, fresh, actor=fresh.as_actor(address))


def _make(answer: Answer, *, address: str | None) -> User:
    if not settings.SIGNUP_ENABLED:
        raise Forbidden("Sign-up is off here: ask an administrator for an account.", code="sign_up_disabled")
    limits.knock((limits.limit("sign_up_address"), address or "local"))
    role = Role.objects.filter(slug=settings.SIGNUP_ROLE).first()
    if role is None:
        raise Forbidden("Sign-up is not set up: ask an administrator.", code="sign_up_disabled")
    try:
        with transaction.atomic():
            username = free_username(answer.login or answer.email)
            user = User(email=answer.email, verified_email=answer.email, username=username, name=answer.name, role=role)
            user.set_unusable_password()
            user.save(force_insert=True)
            SocialAccount.objects.create(user=user, provider=answer.provider, uid=answer.uid, extra_data=_data(answer))
            after = {"role": role.slug, "by": answer.provider}
            record("accounts.sign_up", actor=user.as_actor(address), target=target_of(user), after=after)
    except IntegrityError:
        raise Conflict("Two sign-ups at the same time: try again.", code="try_again") from None
    return user


def _link(answer: Answer, user: User, *, actor: Actor) -> User:
    name = NAMES[answer.provider]
    try:
        with transaction.atomic():
            SocialAccount.objects.create(user=user, provider=answer.provider, uid=answer.uid, extra_data=_data(answer))
            record("accounts.connect", actor=actor, target=target_of(user), after={"provider": answer.provider, "login": answer.login})
            letters.notify("connected", user=user, values={**told_by(actor), "what": f"{name} ({answer.login}) signs you in from now on"})
    except IntegrityError:
        raise Conflict(f"This {name} account was connected meanwhile.", code="connected_elsewhere") from None
    return user


def connect(answer: Answer, user: User, *, actor: Actor) -> None:
    """Link it to a signed-in person, whatever its addresses. Raises Conflict (codes connected_elsewhere, one_per_provider)."""
    name = NAMES[answer.provider]
    known = _linked(answer)
    if known is not None and known.user_id == user.pk:
        return
    if known is not None:
        raise Conflict(f"This {name} account signs in to another account here: disconnect it there first.", code="connected_elsewhere")
    if SocialAccount.objects.filter(user=user, provider=answer.provider).exists():
        raise Conflict(f"You have a {name} account connected: disconnect it first.", code="one_per_provider")
    _link(answer, user, actor=actor)


def disconnect(user: User, connection_id: int, *, actor: Actor) -> None:
    """Raises NotFound, Conflict (code last_way_in): nobody locks themselves out."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        row = SocialAccount.objects.filter(pk=connection_id, user=user).first()
        if row is None:
            raise NotFound("There is no such connection.")
        others = SocialAccount.objects.filter(user=user).exclude(pk=row.pk).exists()
        if not (others or user.has_usable_password() or "webauthn" in second_factor.kinds_of(user)):
            raise Conflict("This is your only way to sign in: set a password first.", code="last_way_in")
        name, login = NAMES.get(row.provider, row.provider), str(row.extra_data.get("login", ""))
        row.delete()
        record("accounts.disconnect", actor=actor, target=target_of(user), before={"provider": row.provider, "login": login})
        letters.notify("connected", user=user, values={**told_by(actor), "what": f"{name} ({login}) no longer signs you in"})
