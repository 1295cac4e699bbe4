"""Second factors: codes of an authenticator app (TOTP), recovery codes; passkeys are in `accounts.passkeys`.

Kept in allauth.mfa's table, secrets encrypted with the panel's keys. A code is good once (E20): the step that it was for, or the recovery code,
is marked as used in the row itself, under a lock, so two at the same time can't both win.
"""

from __future__ import annotations

import time
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import format_hotp_value, generate_totp_secret, hotp_value
from django.conf import settings
from django.core import signing
from django.db import IntegrityError, transaction
from django.utils.crypto import constant_time_compare

from accounts import letters, limits
from accounts.access import rights_of
from accounts.models import User
from audit.services import Actor, Target, record
from lormas.common import clock, live
from lormas.common.crypto import WrongKey, decrypt, encrypt
from lormas.common.errors import Conflict, FieldError, NotFound, NotSignedIn, Refused

Kind = Literal["totp", "recovery_code"]
PERIOD_SECONDS: Final = 30
DRIFT_STEPS: Final = 1
"""Clocks of phones are off by some seconds."""
DRAFT_SECONDS: Final = 900
_DRAFT: Final = "accounts.second_factor.draft"
MAX_CODE_CHARS: Final = 64
_ADMINISTRATORS: Final = frozenset({"users.manage", "roles.manage", "settings.manage"})
_SECONDS: Final = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def is_administrator(user: User) -> bool:
    """May this account give itself or others more? By rights, not by the role's name."""
    return bool(rights_of(user) & _ADMINISTRATORS)


def kinds_of(user: User) -> frozenset[str]:
    """Which second factors an account has: `totp`, `webauthn`. Recovery codes alone are none. Cached on the instance."""
    cached: frozenset[str] | None = getattr(user, "_factor_kinds", None)
    if cached is None:
        found = Authenticator.objects.filter(user_id=user.pk, type__in=_SECONDS).values_list("type", flat=True)
        cached = user._factor_kinds = frozenset(found)  # type: ignore[attr-defined]
    return cached


def has(user: User) -> bool:
    """Has this account a second factor?"""
    return bool(kinds_of(user))


def changed(user: User, what: str, *, actor: Actor) -> None:
    """After an act on somebody's factors, inside its transaction: they are told by mail, their sockets look again."""
    user.__dict__.pop("_factor_kinds", None)
    values = {"what": what, "from": actor.address or "", "time": clock.now().strftime("%Y-%m-%d %H:%M UTC")}
    letters.notify("factor_changed", user=user, values=values)
    live.on_commit_publish(f"user:{user.pk}", {"type": "rights_changed"})


def target(user: User) -> Target:
    """An account as the journal names it."""
    return Target("user", str(user.pk), user.label)


# ---- authenticator app


def begin_totp(user: User) -> dict[str, str]:
    """A new secret: `{secret, uri, draft}`. Nothing is kept; `draft` carries it, sealed, to `activate_totp` within 15 minutes.

    Raises Conflict (code totp_active).
    """
    if "totp" in kinds_of(user):
        raise Conflict("You have an authenticator app already: remove it first.", code="totp_active")
    secret = generate_totp_secret()
    sealed = encrypt(secret, keys=settings.FIELD_KEYS)
    return {"secret": secret, "uri": uri_of(user, secret), "draft": signing.dumps({"u": str(user.pk), "s": sealed}, salt=_DRAFT)}


def uri_of(user: User, secret: str) -> str:
    """What the app reads from the QR code."""
    label = f"Lormas:{user.email}"
    return f"otpauth://totp/{quote(label)}?{urlencode({'secret': secret, 'issuer': 'Lormas'}, quote_via=quote)}"


def draft_secret(user: User, draft: str) -> str:
    """The secret inside of a draft. Raises Refused (code draft_invalid)."""
    try:
        claims = signing.loads(draft, salt=_DRAFT, max_age=DRAFT_SECONDS)
        if claims["u"] == str(user.pk):
            return decrypt(claims["s"], keys=settings.FIELD_KEYS)
    except (signing.BadSignature, WrongKey, KeyError, TypeError):
        pass
    raise Refused(
        "This set-up is too old: begin again.", code="draft_invalid", errors=[FieldError("draft", "It is too old: begin again.", "draft_invalid")]
    )


def _step(secret: str, code: str, *, after: int) -> int | None:
    """The time step that a code is for, if it is a later one than `after`. Compares all, so that time tells nothing."""
    now = int(time.time()) // PERIOD_SECONDS
    found = None
    for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
        if constant_time_compare(code, format_hotp_value(hotp_value(secret, step))) and step > after:
            found = step
    return found


def _plain(code: str) -> str:
    """As people type it: `123 456`, `12345-67890`."""
    return "".join(c for c in code[:MAX_CODE_CHARS] if c.isascii() and c.isdigit())


def activate_totp(user: User, *, draft: str, code: str, actor: Actor) -> list[str]:
    """Take the app into use after it showed a right code. Returns fresh recovery codes, which are told here only.

    Raises Refused (codes draft_invalid, code_wrong), Conflict (code totp_active), TooMany.
    """
    secret = draft_secret(user, draft)
    door = (limits.limit("sign_in_account"), f"totp:{user.pk}")
    limits.knock(door)
    step = _step(secret, _plain(code), after=0)
    if step is None:
        detail = "The code is wrong: type the one that the app shows now, and see that the phone's clock is right."
        raise Refused(detail, code="code_wrong", errors=[FieldError("code", detail, "code_wrong")])
    limits.give_back(door)
    try:
        with transaction.atomic():
            data = {"secret": encrypt(secret, keys=settings.FIELD_KEYS), "last_step": step}
            Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data=data, created_at=clock.now())
            codes = _renew_codes(user)
            record("accounts.factor_add", actor=actor, target=target(user), after={"kind": "totp"})
            changed(user, "an authenticator app was added", actor=actor)
    except IntegrityError:
        raise Conflict("You have an authenticator app already: remove it first.", code="totp_active") from None
    return codes


def remove_totp(user: User, *, actor: Actor) -> None:
    """Raises NotFound."""
    with transaction.atomic():
        gone, _ = Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.TOTP).delete()
        if not gone:
            raise NotFound("You have no authenticator app.")
        record("accounts.factor_remove", actor=actor, target=target(user), before={"kind": "totp"})
        user.__dict__.pop("_factor_kinds", None)
        forget_codes_alone(user)
        changed(user, "the authenticator app was removed", actor=actor)


def forget_codes_alone(user: User) -> None:
    """Recovery codes go with the last factor that they recover."""
    if not has(user):
        Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.RECOVERY_CODES).delete()


# ---- recovery codes


def _renew_codes(user: User) -> list[str]:
    Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.RECOVERY_CODES).delete()
    return [f"{code[:5]}-{code[5:]}" for code in RecoveryCodes.activate(user).generate_codes()]


def first_codes(user: User) -> list[str]:
    """Fresh recovery codes for somebody who has none; none for somebody who has."""
    if Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.RECOVERY_CODES).exists():
        return []
    return _renew_codes(user)


def renew_codes(user: User, *, actor: Actor) -> list[str]:
    """New recovery codes; the old ones are void. Raises Conflict (code no_second_factor)."""
    if not has(user):
        raise Conflict("Recovery codes stand in for a second factor: set one up first.", code="no_second_factor")
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        codes = _renew_codes(user)
        record("accounts.recovery_codes", actor=actor, target=target(user))
        changed(user, "new recovery codes were made", actor=actor)
    return codes


def codes_left(user: User) -> int:
    """How many recovery codes were not used."""
    row = Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.RECOVERY_CODES).first()
    return len(RecoveryCodes(row).get_unused_codes()) if row is not None else 0


# ---- at the door


def spend_code(user: User, code: str) -> Kind | None:
    """Use up a code: of the app or a recovery code. None: it is wrong, or was used before."""
    typed = _plain(code)
    if len(typed) not in (6, 10):
        return None
    with transaction.atomic():
        if len(typed) == 10:
            row = Authenticator.objects.select_for_update().filter(user_id=user.pk, type=Authenticator.Type.RECOVERY_CODES).first()
            good = row is not None and has(user) and RecoveryCodes(row).validate_code(typed)
            if good:
                Authenticator.objects.filter(pk=row.pk).update(last_used_at=clock.now())  # type: ignore[union-attr]
            return "recovery_code" if good else None
        row = Authenticator.objects.select_for_update().filter(user_id=user.pk, type=Authenticator.Type.TOTP).first()
        if row is None:
            return None
        step = _step(decrypt(row.data["secret"], keys=settings.FIELD_KEYS), typed, after=int(row.data.get("last_step", 0)))
        if step is None:
            return None
        row.data = {**row.data, "last_step": step}
        row.last_used_at = clock.now()
        row.save(update_fields=["data", "last_used_at"])
        return "totp"


def check_code(user: User, code: str, *, address: str | None) -> Kind:
    """The code of somebody whose password was right. Every try is counted, by account and by address.

    Raises NotSignedIn (code code_wrong), TooMany, LimiterAway.
    """
    doors = ((limits.limit("sign_in_account"), f"code:{user.pk}"), (limits.limit("sign_in_address"), address or "local"))
    limits.knock(*doors)
    kind = spend_code(user, code)
    if kind is None:
        record("accounts.sign_in", actor=Actor("anonymous"), target=target(user), outcome="refused", message="wrong code")
        raise NotSignedIn("The code is wrong, or was used before: wait for the next one.", code="code_wrong")
    limits.give_back(*doors)
    if kind == "recovery_code":
        with transaction.atomic():
            record("accounts.recovery_code_used", actor=user.as_actor(address), target=target(user), after={"left": codes_left(user)})
            changed(user, "a recovery code was used to sign in", actor=user.as_actor(address))
    return kind


def reset(user: User, *, actor: Actor, message: str = "") -> int:
    """An administrator's act for somebody who lost their phone: all factors go. Returns how many. The caller checked the right to it."""
    with transaction.atomic():
        gone: int = Authenticator.objects.filter(user_id=user.pk).count()
        Authenticator.objects.filter(user_id=user.pk).delete()
        record("accounts.factor_reset", actor=actor, target=target(user), before={"factors": gone}, message=message)
        changed(user, "all second factors were removed by an administrator", actor=actor)
    return gone


def summary(user: User) -> dict[str, Any]:
    """`{totp, passkeys, recovery_codes_left}`."""
    passkeys = Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.WEBAUTHN).count()
    return {"totp": "totp" in kinds_of(user), "passkeys": passkeys, "recovery_codes_left": codes_left(user)}
