"""Passkeys (WebAuthn): as the only thing one shows at the door, as a second factor, and to confirm who one is.

Kept in allauth.mfa's table. A passkey is bound to the panel's name, so one made at `https://panel.example.org` works there only; browsers give
none for bare IP addresses. Challenges live in the browser's own session and are good once, for five minutes.
"""

from __future__ import annotations

import ipaddress
import time
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.http import HttpRequest
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from accounts import second_factor
from accounts.models import User
from audit.services import Actor, record
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, NotFound, NotSignedIn, Refused

Purpose = Literal["add", "enter", "second", "confirm"]
_STATE: Final = "passkey_state"
STATE_SECONDS: Final = 300
MAX_PASSKEYS: Final = 25
MAX_NAME_CHARS: Final = 64


def host_of(request: HttpRequest) -> str:
    """The name that the browser sees."""
    return (urlsplit(f"//{request.get_host()}").hostname or "").lower()


def possible(request: HttpRequest) -> bool:
    """Can a browser make a passkey for this address? Not for IP addresses, and not without TLS but on localhost."""
    host = host_of(request)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or _scheme(request) == "https"
    return False


def _scheme(request: HttpRequest) -> str:
    public = urlsplit(settings.PUBLIC_URL)
    return "https" if request.is_secure() else public.scheme if host_of(request) == public.hostname else "http"


def _server(request: HttpRequest) -> Fido2Server:
    host = host_of(request)
    origins = {f"{_scheme(request)}://{request.get_host()}", *([settings.PUBLIC_URL] if urlsplit(settings.PUBLIC_URL).hostname == host else [])}
    # scheme, host and port, exactly: a page on another port of this machine is a stranger
    return Fido2Server(PublicKeyCredentialRpEntity(id=host, name="Lormas"), verify_origin=lambda origin: origin in origins)


def _keep(session: SessionBase, purpose: Purpose, state: dict[str, Any]) -> None:
    session[_STATE] = {"for": purpose, "at": int(time.time()), "challenge": state["challenge"], "verify": str(state["user_verification"])}


def _take(session: SessionBase, purpose: Purpose) -> dict[str, Any]:
    kept = session.pop(_STATE, None)
    session.save()  # spent before it is looked at
    if not isinstance(kept, dict) or kept.get("for") != purpose or time.time() - kept.get("at", 0) > STATE_SECONDS:
        raise Refused("That took too long: try again.", code="passkey_stale")
    return {"challenge": kept["challenge"], "user_verification": UserVerificationRequirement(kept["verify"])}


def of(user: User) -> list[Authenticator]:
    """A person's passkeys, oldest first."""
    return list(Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.WEBAUTHN).order_by("created_at"))


def _credential(row: Authenticator) -> AttestedCredentialData | None:
    made: AttestedCredentialData | None = RegistrationResponse.from_dict(row.data["credential"]).response.attestation_object.auth_data.credential_data
    return made


def _known(user: User) -> dict[bytes, tuple[Authenticator, AttestedCredentialData]]:
    found = ((row, _credential(row)) for row in of(user))
    return {credential.credential_id: (row, credential) for row, credential in found if credential is not None}


def begin_adding(request: HttpRequest, user: User) -> dict[str, Any]:
    """Options for `navigator.credentials.create`. Raises Conflict (codes passkeys_impossible, too_many_passkeys)."""
    if not possible(request):
        raise Conflict("Browsers make passkeys only for a name over TLS, or for localhost.", code="passkeys_impossible")
    known = _known(user)
    if len(known) >= MAX_PASSKEYS:
        raise Conflict(f"You have {MAX_PASSKEYS} passkeys: remove one first.", code="too_many_passkeys")
    options, state = _server(request).register_begin(
        PublicKeyCredentialUserEntity(id=user.pk.bytes, name=user.email, display_name=user.label),
        [credential for _, credential in known.values()],
        resident_key_requirement=ResidentKeyRequirement.REQUIRED,
        user_verification=UserVerificationRequirement.REQUIRED,
        extensions={"credProps": True},
    )
    _keep(request.session, "add", state)
    return dict(options)


def finish_adding(request: HttpRequest, user: User, *, name: str, response: Any, actor: Actor) -> list[str]:
    """Keep a passkey that answered the challenge. Returns recovery codes where these are the account's first.

    Raises Refused (codes passkey_stale, passkey_wrong).
    """
    state = _take(request.session, "add")
    try:
        made = _server(request).register_complete(state, response).credential_data
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        said = "The browser's answer does not fit: try again."
        raise Refused(said, code="passkey_wrong", errors=[FieldError("credential", said, "passkey_wrong")]) from error
    assert made is not None
    name = name.strip()[:MAX_NAME_CHARS] or "Passkey"
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if made.credential_id in _known(user):
            raise Conflict("You have this passkey already.", code="passkey_known")
        Authenticator.objects.create(
            user=user, type=Authenticator.Type.WEBAUTHN, created_at=clock.now(), data={"name": name, "credential": response, "count": 0}
        )
        codes = second_factor.first_codes(user)
        record("accounts.factor_add", actor=actor, target=second_factor.target(user), after={"kind": "passkey", "name": name})
        second_factor.changed(user, f"the passkey “{name}” was added", actor=actor)
    return codes


def remove(user: User, passkey_id: int, *, actor: Actor) -> None:
    """Raises NotFound."""
    with transaction.atomic():
        row = Authenticator.objects.filter(pk=passkey_id, user_id=user.pk, type=Authenticator.Type.WEBAUTHN).first()
        if row is None:
            raise NotFound("There is no such passkey.")
        name = str(row.data.get("name", ""))
        row.delete()
        record("accounts.factor_remove", actor=actor, target=second_factor.target(user), before={"kind": "passkey", "name": name})
        user.__dict__.pop("_factor_kinds", None)
        second_factor.forget_codes_alone(user)
        second_factor.changed(user, f"the passkey “{name}” was removed", actor=actor)


def begin(request: HttpRequest, purpose: Purpose, *, user: User | None = None) -> dict[str, Any]:
    """Options for `navigator.credentials.get`; without a `user` the browser offers whoever it knows."""
    credentials = [credential for _, credential in _known(user).values()] if user is not None else None
    options, state = _server(request).authenticate_begin(credentials or None, user_verification=UserVerificationRequirement.REQUIRED)
    _keep(request.session, purpose, state)
    return dict(options)


def _refused() -> NotSignedIn:
    return NotSignedIn("This passkey opens no account here.", code="passkey_wrong")


def finish(request: HttpRequest, purpose: Purpose, *, response: Any, user: User | None = None) -> User:
    """Whose passkey answered the challenge. The device checked finger, face or PIN, so it stands for both factors.

    Raises NotSignedIn (code passkey_wrong), Refused (code passkey_stale).
    """
    state = _take(request.session, purpose)
    try:
        answer = AuthenticationResponse.from_dict(response)
        if user is None:
            user = User.objects.select_related("role").filter(pk=UUID(bytes=bytes(answer.response.user_handle or b"")), is_active=True).first()
        known = _known(user) if user is not None else {}
        _server(request).authenticate_complete(state, [credential for _, credential in known.values()], answer)
        row = known[bytes(answer.raw_id)][0]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _refused() from error
    assert user is not None
    _count(row, answer.response.authenticator_data.counter)
    return user


def _count(row: Authenticator, counter: int) -> None:
    """A counter that does not grow means a copied key. (Most passkeys are copied by design, between devices, and always say 0.)"""
    with transaction.atomic():
        fresh = Authenticator.objects.select_for_update().filter(pk=row.pk).first()
        if fresh is None or (counter and counter <= int(fresh.data.get("count", 0))):
            raise _refused()
        fresh.data = {**fresh.data, "count": counter}
        fresh.last_used_at = clock.now()
        fresh.save(update_fields=["data", "last_used_at"])
