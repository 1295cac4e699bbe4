"""The gate: sign-in in its steps, sign-up, forgotten passwords. The same services as the API; problems become sentences on the form."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import entering, mailbox, passkeys, proofs, second_factor, services, sessions
from accounts.forms import AddressForm, CodeForm, LoginForm, NewPasswordForm, PasswordForm, SignUpForm, VerifyForm
from accounts.models import User
from accounts.redirects import safe_next
from lormas.common.addresses import client_address
from lormas.common.api.throttling import note
from lormas.common.errors import Problem


def tell(form: forms.Form, problem: Problem) -> None:
    """Put a problem on the fields it names, or on top of the form."""
    named = [error for error in problem.errors if error.field in form.fields]
    for error in named:
        form.add_error(error.field, error.message)
    if not named:
        form.add_error(None, problem.detail)


def status_of(request: HttpRequest, problem: Problem) -> int:
    """Of a page that shows a problem on its form; what a rule refuses is an ordinary page. Headers tell the limit that counted it."""
    if problem.verdict is not None:
        note(request, problem.verdict)
    return problem.status if problem.status not in (400, 401, 409, 422) else 200


def providers() -> list[dict[str, str]]:
    """Configured ways in, beside the password."""
    names = {"github": "GitHub", "discord": "Discord"}
    return [{"id": name, "name": names[name]} for name, configured in settings.SOCIAL_PROVIDERS.items() if configured]


@sensitive_post_parameters("password")
@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def login_page(request: HttpRequest) -> HttpResponse:
    """`/login?next=/path`"""
    target = safe_next(request.POST.get("next") or request.GET.get("next"))
    if request.user.is_authenticated:
        return HttpResponseRedirect(target)
    form = LoginForm(request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            user = services.check_credentials(
                login=form.cleaned_data["login"], password=form.cleaned_data["password"], address=client_address(request)
            )
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            return entering.admit(request, user, remember=form.cleaned_data["remember"], target=target, by="password")
    context = {
        "form": form,
        "next": target,
        "sign_up": settings.SIGNUP_ENABLED,
        "verification": settings.EMAIL_VERIFICATION,
        "providers": providers(),
        "passkeys": passkeys.possible(request),
    }
    return render(request, "accounts/login.html", context, status=status)


@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def code_page(request: HttpRequest) -> HttpResponse:
    """`/login/code`: the second factor of somebody whose password was right."""
    found = entering.pending(request)
    if found is None:
        messages.error(request, _("That took too long: sign in again."))
        return redirect("accounts:login")
    user, kept = found
    form = CodeForm(request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            kind = second_factor.check_code(user, form.cleaned_data["code"], address=client_address(request))
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            entering.forget(request)
            sessions.begin(request, user, remember=kept["remember"], by=f"{kept['by']}, {kind}")
            if kind == "recovery_code":
                left = second_factor.codes_left(user)
                messages.warning(request, _("A recovery code was used; %(left)d are left. Make new ones when they run out.") % {"left": left})
            return HttpResponseRedirect(safe_next(kept["to"]))
    kinds = second_factor.kinds_of(user)
    context = {"form": form, "totp": "totp" in kinds, "passkey": "webauthn" in kinds and passkeys.possible(request)}
    return render(request, "accounts/code.html", context, status=status)


@require_POST
@csrf_protect
def start_over(request: HttpRequest) -> HttpResponse:
    """`POST /login/over`: another account."""
    entering.forget(request)
    return redirect("accounts:login")


@sensitive_post_parameters("password")
@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def signup_page(request: HttpRequest) -> HttpResponse:
    """`/signup`"""
    if request.user.is_authenticated or not settings.SIGNUP_ENABLED:
        return redirect("accounts:login")
    form = SignUpForm(request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            user = services.sign_up(**form.cleaned_data, username="", address=client_address(request))
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            if user is not None:
                sessions.begin(request, user, remember=True, by="sign-up")
                return HttpResponseRedirect(settings.LOGIN_REDIRECT_URL)
            _remember_password(request, form.cleaned_data["email"], form.cleaned_data["password"])
            return redirect("accounts:mailed", what="signup")
    return render(request, "accounts/signup.html", {"form": form, "providers": providers()}, status=status)


def _remember_password(request: HttpRequest, email: str, password: str) -> None:
    """So that the link needs no password in the browser that chose it. The same work and the same session for a known address."""
    user = User.objects.filter(email__iexact=email.strip(), must_verify_email=True).first()
    entering.remember_sign_up(request, proofs.password_mark(user or User()))


@never_cache
@require_http_methods(["GET", "HEAD"])
def mailed_page(request: HttpRequest, what: str) -> HttpResponse:
    """`/login/mailed/<what>`: look into your mail."""
    return render(request, "accounts/mailed.html", {"what": what})


@sensitive_post_parameters("password")
@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def verify_page(request: HttpRequest, token: str) -> HttpResponse:
    """`/verify/<token>`: the link out of the mail. Opening it changes nothing (mail filters open links), its button does."""
    try:
        knows = proofs.password_mark(proofs.read_verification(token)) == entering.signed_up_mark(request)
    except Problem as problem:
        return render(request, "accounts/link_dead.html", {"problem": problem, "again": "verify"}, status=problem.status)
    form = VerifyForm(request.POST if request.method == "POST" else None)  # with nothing to type an empty one is whole
    if knows:
        del form.fields["password"]
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            user = mailbox.verify(
                token, password=form.cleaned_data.get("password"), knows=entering.signed_up_mark(request), address=client_address(request)
            )
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            messages.success(request, _("Your address is confirmed."))
            return entering.admit(request, user, remember=True, target=settings.LOGIN_REDIRECT_URL, by="password")
    return render(request, "accounts/verify.html", {"form": form, "knows": knows}, status=status)


@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def verify_again_page(request: HttpRequest) -> HttpResponse:
    """`/signup/again`: the confirmation mail once more."""
    return _ask(request, mailbox.ask_verification, "accounts/again.html", what="signup")


@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def forgot_page(request: HttpRequest) -> HttpResponse:
    """`/password/forgot`"""
    return _ask(request, mailbox.ask_reset, "accounts/forgot.html", what="reset")


def _ask(request: HttpRequest, act: object, template: str, *, what: str) -> HttpResponse:
    assert callable(act)
    form = AddressForm(request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            act(email=form.cleaned_data["email"], address=client_address(request))
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            return redirect("accounts:mailed", what=what)
    return render(request, template, {"form": form}, status=status)


@sensitive_post_parameters("password", "repeated")
@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def reset_page(request: HttpRequest, token: str) -> HttpResponse:
    """`/password/reset/<token>`"""
    try:
        user = proofs.read_reset(token)
    except Problem as problem:
        return render(request, "accounts/link_dead.html", {"problem": problem, "again": "reset"}, status=problem.status)
    form = NewPasswordForm(request.POST or None)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            mailbox.reset(token, password=form.cleaned_data["password"], address=client_address(request))
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            messages.success(request, _("Your password was changed; all sessions were ended. Sign in with it."))
            return redirect("accounts:login")
    return render(request, "accounts/reset.html", {"form": form, "person": user}, status=status)


@require_POST
@csrf_protect
def logout_page(request: HttpRequest) -> HttpResponse:
    """`POST /logout` (never by GET: H02)"""
    sessions.end(request)
    return redirect("accounts:login")


@sensitive_post_parameters("old_password", "password", "repeated")
@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def password_page(request: HttpRequest) -> HttpResponse:
    """`/password`; the only page for somebody who must change it. Those who have none yet (signed up by a provider) prove themselves first."""
    user = request.user
    assert isinstance(user, User)
    forced, has_one = user.must_change_password, user.has_usable_password()
    if not has_one and not sessions.is_recent(sessions.of(request)):
        return redirect(f"/confirm?next={request.path}")
    form = PasswordForm(request.POST or None)
    if not has_one:
        del form.fields["old_password"]
    status = 200
    if request.method == "POST" and form.is_valid():
        old = form.cleaned_data["old_password"] if has_one else None
        try:
            services.change_password(
                user, old=old, new=form.cleaned_data["password"], keep=sessions.of(request), actor=user.as_actor(client_address(request))
            )
        except Problem as problem:
            tell(form, problem)
            status = status_of(request, problem)
        else:
            sessions.after_password_change(request, user)
            messages.success(request, _("Your password was changed; all other sessions were ended."))
            return HttpResponseRedirect(settings.LOGIN_REDIRECT_URL if forced else "/settings")
    return render(request, "accounts/password.html", {"form": form, "forced": forced, "has_one": has_one}, status=status)
