"""What the passkey buttons talk to: options for the browser, and its answer. JSON, same origin, with the CSRF header."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST

from accounts import entering, limits, passkeys, services, sessions
from accounts.models import User
from accounts.redirects import safe_next
from accounts.settings_views import actor_of
from audit.services import ANONYMOUS, record
from lormas.common.addresses import client_address
from lormas.common.errors import Forbidden, Invalid, NotSignedIn, Problem, Refused
from lormas.common.pages import person, signed_in

MAX_BODY_BYTES = 64 * 1024
View = Callable[..., HttpResponse]


def _json(view: Callable[..., dict[str, Any]]) -> View:
    """POST only, CSRF, a JSON object out; problems as `{detail, code}`."""

    @never_cache
    @csrf_protect
    @require_POST
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return JsonResponse(view(request, *args, **kwargs))
        except Problem as problem:
            return JsonResponse({"detail": problem.detail, "code": problem.code, "request_id": getattr(request, "id", "")}, status=problem.status)

    return inner


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        found = json.loads(request.body) if len(request.body) <= MAX_BODY_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Invalid("The browser's answer can't be read: try again.", code="malformed")
    return found


@_json
def enter_options(request: HttpRequest) -> dict[str, Any]:
    """`POST /login/passkey/options`"""
    limits.knock((limits.limit("sign_in_address"), client_address(request) or "local"))
    return passkeys.begin(request, "enter")


def _checked(request: HttpRequest, purpose: passkeys.Purpose, *, user: User | None = None) -> User:
    door = (limits.limit("sign_in_address"), client_address(request) or "local")
    limits.knock(door)
    try:
        found = passkeys.finish(request, purpose, response=_body(request).get("credential"), user=user)
    except NotSignedIn:
        record("accounts.sign_in", actor=ANONYMOUS, outcome="refused", message="a passkey that fits no account")
        raise
    if services.must_verify(found):
        raise NotSignedIn(_("The address of this account is not confirmed yet."), code="passkey_wrong")
    limits.give_back(door)
    return found


@_json
def enter(request: HttpRequest) -> dict[str, Any]:
    """`POST /login/passkey {credential, next?}`: a passkey alone signs in; the device has checked who holds it."""
    user = _checked(request, "enter")
    sessions.begin(request, user, remember=True, by="passkey")
    return {"to": safe_next(str(_body(request).get("next") or ""), default=settings.LOGIN_REDIRECT_URL)}


@_json
def second_options(request: HttpRequest) -> dict[str, Any]:
    """`POST /login/code/options`"""
    found = entering.pending(request)
    if found is None:
        raise Refused("That took too long: sign in again.", code="passkey_stale")
    return passkeys.begin(request, "second", user=found[0])


@_json
def second(request: HttpRequest) -> dict[str, Any]:
    """`POST /login/code/passkey {credential}`"""
    found = entering.pending(request)
    if found is None:
        raise Refused("That took too long: sign in again.", code="passkey_stale")
    user, kept = found
    _checked(request, "second", user=user)
    entering.forget(request)
    sessions.begin(request, user, remember=kept["remember"], by=f"{kept['by']}, passkey")
    return {"to": safe_next(kept["to"])}


@signed_in
@_json
def confirm_options(request: HttpRequest) -> dict[str, Any]:
    """`POST /confirm/options`"""
    return passkeys.begin(request, "confirm", user=person(request))


@signed_in
@_json
def confirm(request: HttpRequest) -> dict[str, Any]:
    """`POST /confirm/passkey {credential, next?}`"""
    user: User = person(request)
    _checked(request, "confirm", user=user)
    sessions.confirm(sessions.adopt(request, user))
    return {"to": safe_next(str(_body(request).get("next") or ""), default="/settings")}


def _recent(request: HttpRequest) -> None:
    if not sessions.is_recent(sessions.of(request)):
        raise Forbidden(_("Confirm that it is you first."), code="confirm_required")


@signed_in
@_json
def add_options(request: HttpRequest) -> dict[str, Any]:
    """`POST /settings/passkeys/options`"""
    _recent(request)
    return passkeys.begin_adding(request, person(request))


@signed_in
@_json
def add(request: HttpRequest) -> dict[str, Any]:
    """`POST /settings/passkeys {credential, name}`; recovery codes where it is the first factor."""
    _recent(request)
    body = _body(request)
    codes = passkeys.finish_adding(
        request, person(request), name=str(body.get("name") or ""), response=body.get("credential"), actor=actor_of(request)
    )
    return {"to": reverse("accounts:settings"), "codes": codes}
