"""Acts by mail: proving an address, changing it, and a new password for somebody who forgot theirs.

Whoever asks learns nothing: the answer, the work and the count are the same for an address that is known here and one that is not (E11).
"""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.crypto import constant_time_compare

from accounts import letters, limits, proofs, tokens
from accounts.models import User
from accounts.seeding import forget_first_password
from accounts.services import checked_password, target_of, told_by
from audit.services import Actor, record
from lormas.common.errors import Conflict, FieldError, Refused


def _doors(email: str, address: str | None) -> tuple[limits.Door, limits.Door]:
    return (limits.limit("mail_address"), address or "local"), (limits.limit("mail_account"), limits.hashed(email))


def ask_reset(*, email: str, address: str | None) -> None:
    """Mail a link for a new password, if there is such an account. Raises TooMany, LimiterAway."""
    limits.knock(*_doors(email, address))
    found = User.objects.filter(email__iexact=email.strip(), is_active=True).first()
    with transaction.atomic():
        letters.post("reset", user=found)
        record("accounts.reset_asked", actor=Actor("anonymous", address=address), target=target_of(found) if found else None)


def ask_verification(*, email: str, address: str | None) -> None:
    """Mail the confirmation of a fresh account again. Raises TooMany, LimiterAway."""
    limits.knock(*_doors(email, address))
    found = User.objects.filter(email__iexact=email.strip(), is_active=True, must_verify_email=True).first()
    with transaction.atomic():
        letters.post("verify", user=found)


def verify(token: str, *, password: str | None = None, knows: str | None = None, address: str | None) -> User:
    """Take a fresh account into use: by the link, and by its password, so that nobody proves an address for a stranger's account (E13).

    Args:
        knows: the mark (`proofs.password_mark`) of the password that this browser signed up with a moment ago; then it isn't asked again.

    Raises:
        Refused (codes link_invalid, bad_credentials), TooMany.
    """
    user = proofs.read_verification(token)
    if knows is None or not constant_time_compare(knows, proofs.password_mark(user)):
        door = (limits.limit("sign_in_account"), f"verify:{user.pk}")
        limits.knock(door)
        if password is None or not user.check_password(password):
            detail = "That is not the password this account was made with."
            raise Refused(detail, code="bad_credentials", errors=[FieldError("password", detail, "bad_credentials")])
        limits.give_back(door)
    with transaction.atomic():
        won = User.objects.filter(pk=user.pk, must_verify_email=True, email=user.email).update(must_verify_email=False, verified_email=user.email)
        if not won:
            raise proofs.refused()
        record("accounts.verify_email", actor=user.as_actor(address), target=target_of(user), after={"email": user.email})
    user.refresh_from_db()
    return user


def reset(token: str, *, password: str, address: str | None) -> User:
    """Set a new password by a link; ends all sessions, and proves the address. Raises Refused (code link_invalid, or the password's)."""
    user = proofs.read_reset(token)
    checked_password(password, user=user)
    with transaction.atomic():
        locked = User.objects.select_for_update().get(pk=user.pk)
        if locked.password != user.password:  # a second use at the same time
            raise proofs.refused()
        locked.set_password(password)
        locked.must_change_password = locked.must_verify_email = False
        locked.verified_email = locked.email
        locked.token_generation += 1
        locked.save(update_fields=["password", "must_change_password", "must_verify_email", "verified_email", "token_generation", "updated_at"])
        actor = locked.as_actor(address)
        ended = tokens.revoke_all(locked, why="password_reset")
        record("accounts.password", actor=actor, target=target_of(locked), after={"sessions_ended": ended}, message="by a mailed link")
        letters.notify("password_changed", user=locked, values=told_by(actor))
    forget_first_password(locked)
    limits.forget_account(locked)
    return locked


def ask_change(user: User, *, email: str, actor: Actor) -> None:
    """Mail a link to a new address; nothing changes before it is used (E17). A taken address answers the same, and its owner is told.

    Raises Refused (code unchanged), TooMany, LimiterAway.
    """
    email = email.strip().lower()
    if email == user.email and user.email_is_verified:
        raise Refused("That is your address already.", code="unchanged", errors=[FieldError("email", "That is your address already.", "unchanged")])
    limits.knock(*_doors(email, str(user.pk)))
    taken = User.objects.filter(Q(email__iexact=email) | Q(username__iexact=email)).exclude(pk=user.pk).first()
    with transaction.atomic():
        if taken is None:
            letters.post("email_change", user=user, address=email)
        else:
            letters.post("email_taken", user=taken)
        record("accounts.email_asked", actor=actor, target=target_of(user), after={"email": email})


def change(token: str, *, by: User, actor: Actor) -> User:
    """Give `by` the address that the link proves. The old one is told.

    Raises Refused (code link_invalid): also for a link of another account. Conflict: somebody else took the address meanwhile.
    """
    wanted = proofs.read_change(token)
    if wanted.user.pk != by.pk:
        said = "This link is for another account: sign in to that one."
        raise Refused(said, code="link_invalid", errors=[FieldError("token", said, "link_invalid")])
    before, user = wanted.user.email, wanted.user
    try:
        with transaction.atomic():
            if User.objects.filter(Q(email__iexact=wanted.email) | Q(username__iexact=wanted.email)).exclude(pk=user.pk).exists():
                raise IntegrityError
            won = User.objects.filter(pk=user.pk, email=before).update(email=wanted.email, verified_email=wanted.email, must_verify_email=False)
            if not won:
                raise proofs.refused()
            record("accounts.email", actor=actor, target=target_of(user), before={"email": before}, after={"email": wanted.email})
            if before != wanted.email:
                letters.notify("email_changed", user=user, address=before, values={**told_by(actor), "what": wanted.email})
    except IntegrityError:
        raise Conflict("This address was given to another account meanwhile.", code="unavailable") from None
    user.refresh_from_db()
    return user
