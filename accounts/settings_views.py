"""`/profile` and `/settings`: what people keep about themselves: names, address, second factors, sessions, keys, connected accounts."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import qrcode
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST
from qrcode.image.svg import SvgPathImage

from accounts import confirming, keys, mailbox, passkeys, second_factor, services, sessions, standing
from accounts.access import capabilities_of
from accounts.capabilities import CAPABILITIES
from accounts.forms import AddressForm, ConfirmForm, KeyForm, ProfileForm, TotpForm
from accounts.models import ApiKey, User
from accounts.redirects import safe_next
from accounts.social import services as social
from accounts.views import providers, status_of, tell
from audit.services import Actor
from lormas.common import clock
from lormas.common.addresses import client_address
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, person, signed_in

View = Callable[..., HttpResponse]


def actor_of(request: HttpRequest) -> Actor:
    """The person of this page, from where they are."""
    found: Actor = person(request).as_actor(client_address(request))
    return found


def recently_confirmed(view: View) -> View:
    """For pages that change credentials: first `/confirm`, then back here (a form's own page for a POST)."""

    @functools.wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not sessions.is_recent(sessions.of(request)):
            back = request.get_full_path() if request.method in ("GET", "HEAD") else safe_next(request.POST.get("back"), default="/settings")
            return HttpResponseRedirect(f"/confirm?{urlencode({'next': back})}")
        return view(request, *args, **kwargs)

    return inner


@sensitive_post_parameters("password", "code")
@never_cache
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def confirm_page(request: HttpRequest) -> HttpResponse:
    """`/confirm?next=`: show once more who you are."""
    user: User = person(request)
    target = safe_next(request.POST.get("next") or request.GET.get("next"), default="/settings")
    kinds = second_factor.kinds_of(user)
    form = ConfirmForm(request.POST or None, password=user.has_usable_password(), code="totp" in kinds)
    status = 200
    if request.method == "POST" and form.fields and form.is_valid():
        given = {name: form.cleaned_data[name] for name in ("password", "code") if form.cleaned_data.get(name)}
        try:
            confirming.confirm(user, sessions.adopt(request, user), **given, address=client_address(request))
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            return HttpResponseRedirect(target)
    context = {"form": form, "next": target, "passkey": "webauthn" in kinds and passkeys.possible(request)}
    return render(request, "accounts/confirm.html", context, status=status)


@never_cache
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def profile_page(request: HttpRequest) -> HttpResponse:
    """`/profile`"""
    user: User = person(request)
    known = {"name": user.name, "username": user.username, "time_zone": user.time_zone}
    form = ProfileForm(request.POST or None, initial=known)
    if user.username == user.email:
        form.fields["username"].validators = []  # made before usernames had a shape; it may stay as it is
    status = 200
    if request.method == "POST" and form.is_valid():
        changes = {name: value for name, value in form.cleaned_data.items() if value != known[name]}
        try:
            if changes:
                services.update_profile(user, changes=changes, actor=actor_of(request))
        except Problem as problem:
            user.refresh_from_db()
            tell(form, problem)
            status = status_of(request, problem)
        else:
            messages.success(request, _("Your profile was saved."))
            return HttpResponseRedirect(request.path)
    return render(request, "accounts/profile.html", {"form": form, "person": user, "tab": "profile"}, status=status)


@never_cache
@signed_in
@recently_confirmed
@require_http_methods(["GET", "HEAD", "POST"])
def email_page(request: HttpRequest) -> HttpResponse:
    """`/settings/email`: ask for another address."""
    user: User = person(request)
    form = AddressForm(request.POST or None, initial={} if user.email_is_verified else {"email": user.email})
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            mailbox.ask_change(user, email=form.cleaned_data["email"], actor=actor_of(request))
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            messages.success(request, _("A link is on its way to the new address.") + "\n" + _("Until you open it, nothing changes."))
            return redirect("accounts:profile")
    return render(request, "accounts/email.html", {"form": form, "person": user, "tab": "profile"}, status=status)


@never_cache
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def email_confirm_page(request: HttpRequest, token: str) -> HttpResponse:
    """`/settings/email/<token>`: the link that came to the new address."""
    if request.method == "POST":
        try:
            user = mailbox.change(token, by=person(request), actor=actor_of(request))
        except Problem as problem:
            return render(request, "accounts/link_dead.html", {"problem": problem, "again": "email"}, status=problem.status)
        messages.success(request, _("Your address is %(email)s now.") % {"email": user.email})
        return redirect("accounts:profile")
    return render(request, "accounts/email_confirm.html", {"tab": "profile"})


@never_cache
@signed_in
@require_http_methods(["GET", "HEAD"])
def settings_page(request: HttpRequest) -> HttpResponse:
    """`/settings`: how you sign in."""
    user: User = person(request)
    context = {
        "tab": "security",
        "person": user,
        "factors": second_factor.summary(user),
        "passkeys": [
            {"id": row.pk, "name": row.data.get("name"), "created_at": row.created_at, "used": row.last_used_at} for row in passkeys.of(user)
        ],
        "passkeys_possible": passkeys.possible(request),
        "required": standing.needs_second_factor(user),
        "held": standing.hold_of(user),
        "connections": social.connections(user),
        "providers": [way for way in providers() if way["id"] not in {row.provider for row in social.connections(user)}],
        "has_password": user.has_usable_password(),
        "recent": sessions.is_recent(sessions.of(request)),
    }
    return render(request, "accounts/settings.html", context)


def _qr(text: str) -> str:
    """As an address for `img`: dark on white in both themes, for cameras."""
    drawn = io.BytesIO()
    qrcode.make(text, image_factory=SvgPathImage, border=2).save(drawn)
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode()


@sensitive_post_parameters("code", "draft")
@never_cache
@signed_in
@recently_confirmed
@require_http_methods(["GET", "HEAD", "POST"])
def totp_page(request: HttpRequest) -> HttpResponse:
    """`/settings/totp`: set an authenticator app up."""
    user: User = person(request)
    form = TotpForm(request.POST or None)
    status = 200
    try:
        if request.method == "POST" and form.is_valid():
            codes = second_factor.activate_totp(user, **form.cleaned_data, actor=actor_of(request))
            return render(request, "accounts/codes.html", {"codes": codes, "tab": "security", "fresh": True})
    except Problem as problem:
        tell(form, problem)
        status = status_of(request, problem)
    draft = request.POST.get("draft", "")
    try:
        secret = second_factor.draft_secret(user, draft) if draft else ""
        begun = {"secret": secret, "uri": second_factor.uri_of(user, secret), "draft": draft} if secret else second_factor.begin_totp(user)
    except Problem as problem:
        return answer(request, Toast(problem.title, problem.detail, tone="red"), to="/settings")
    spaced = " ".join(begun["secret"][at : at + 4] for at in range(0, len(begun["secret"]), 4))
    context = {"form": form, "begun": begun, "spaced": spaced, "qr": _qr(begun["uri"]), "tab": "security"}
    return render(request, "accounts/totp.html", context, status=status)


def _act(request: HttpRequest, act: Callable[[], Any], done: str, *, to: str) -> HttpResponse:
    """One act of a settings page, and back with a toast."""
    try:
        act()
    except Problem as problem:
        return answer(request, Toast(problem.title, problem.detail, tone="red", request_id=str(getattr(request, "id", ""))), to=to)
    return answer(request, Toast(done), to=to)


@signed_in
@require_POST
@recently_confirmed
def totp_remove(request: HttpRequest) -> HttpResponse:
    """`POST /settings/totp/remove`"""
    user: User = person(request)
    return _act(request, lambda: second_factor.remove_totp(user, actor=actor_of(request)), _("The authenticator app was removed"), to="/settings")


@never_cache
@signed_in
@require_POST
@recently_confirmed
def codes_page(request: HttpRequest) -> HttpResponse:
    """`POST /settings/codes`: new recovery codes, shown once."""
    try:
        codes = second_factor.renew_codes(person(request), actor=actor_of(request))
    except Problem as problem:
        return answer(request, Toast(problem.title, problem.detail, tone="red"), to="/settings")
    return render(request, "accounts/codes.html", {"codes": codes, "tab": "security"})


@signed_in
@require_POST
@recently_confirmed
def passkey_remove(request: HttpRequest, passkey_id: int) -> HttpResponse:
    """`POST /settings/passkeys/<id>/remove`"""
    user: User = person(request)
    return _act(request, lambda: passkeys.remove(user, passkey_id, actor=actor_of(request)), _("The passkey was removed"), to="/settings")


@signed_in
@require_POST
@recently_confirmed
def disconnect(request: HttpRequest, connection_id: int) -> HttpResponse:
    """`POST /settings/connections/<id>/remove`"""
    user: User = person(request)
    return _act(request, lambda: social.disconnect(user, connection_id, actor=actor_of(request)), _("It no longer signs you in"), to="/settings")


@never_cache
@signed_in
@require_http_methods(["GET", "HEAD"])
def sessions_page(request: HttpRequest) -> HttpResponse:
    """`/settings/sessions`"""
    user: User = person(request)
    mine = sessions.of(request)
    rows = services.own_sessions(user)[:200]
    return render(request, "accounts/sessions.html", {"tab": "sessions", "rows": rows, "mine": mine.pk if mine else None})


@signed_in
@require_POST
def session_end(request: HttpRequest, session_id: Any) -> HttpResponse:
    """`POST /settings/sessions/<id>/end`"""
    user: User = person(request)
    mine = sessions.of(request)
    if mine is not None and mine.pk == session_id:
        sessions.end(request)
        return redirect("accounts:login")
    return _act(
        request, lambda: services.end_session(user, session_id, actor=actor_of(request)), _("That session has ended"), to="/settings/sessions"
    )


@signed_in
@require_POST
def sessions_end(request: HttpRequest) -> HttpResponse:
    """`POST /settings/sessions/end`: all but this one."""
    user: User = person(request)
    return _act(
        request,
        lambda: services.end_other_sessions(user, keep=sessions.adopt(request, user), actor=actor_of(request)),
        _("All other sessions have ended"),
        to="/settings/sessions",
    )


@never_cache
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def keys_page(request: HttpRequest) -> HttpResponse:
    """`/settings/keys`; a new key's secret is on the answer to the POST and nowhere else."""
    user: User = person(request)
    held = capabilities_of(user)
    form = KeyForm(request.POST or None, scopes=[(row.code, row.said) for row in CAPABILITIES if row.code in held])
    made, secret, status = None, "", 200
    if request.method == "POST" and form.is_valid():
        try:
            made, secret = keys.create_key(user, **form.wish(), actor=actor_of(request))
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            form = KeyForm(None, scopes=form.offered)
    context = {
        "tab": "keys",
        "form": form,
        "made": made,
        "secret": secret,
        "rows": ApiKey.objects.filter(user=user),
        "most": keys.MAX_KEYS,
        "public_url": settings.PUBLIC_URL,
        "open": bool(form.errors),
        "now": clock.now(),
    }
    return render(request, "accounts/keys.html", context, status=status)


@signed_in
@require_POST
def key_delete(request: HttpRequest, key_id: Any) -> HttpResponse:
    """`POST /settings/keys/<id>/delete`"""
    user: User = person(request)
    return _act(request, lambda: keys.delete_key(user, key_id, actor=actor_of(request)), _("The key was deleted"), to="/settings/keys")
