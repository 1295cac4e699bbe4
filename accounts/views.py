"""Sign-in pages. The same services as the API; problems become sentences on the form."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import services
from accounts.forms import LoginForm, PasswordForm, ProfileForm, SignUpForm
from accounts.models import User
from accounts.redirects import safe_next
from lormas.common.addresses import client_address
from lormas.common.errors import Problem

BACKEND = "accounts.backends.EmailOrUsernameBackend"


def _tell(form: forms.Form, problem: Problem) -> None:
    """Put a problem on the fields it names, or on top of the form."""
    named = [error for error in problem.errors if error.field in form.fields]
    for error in named:
        form.add_error(error.field, error.message)
    if not named:
        form.add_error(None, problem.detail)


def _enter(request: HttpRequest, user: User, *, remember: bool) -> None:
    login(request, user, backend=BACKEND)  # rotates the session key and the CSRF token (E18)
    request.session.set_expiry(None if remember else 0)
    services.note_cookie_sign_in(user, address=client_address(request))


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
            _tell(form, problem)
            status = problem.status if problem.status != 401 else 200
        else:
            _enter(request, user, remember=form.cleaned_data["remember"])
            return HttpResponseRedirect(target)
    providers = [name for name, configured in settings.SOCIAL_PROVIDERS.items() if configured]
    context = {"form": form, "next": target, "sign_up": settings.SIGNUP_ENABLED, "providers": providers}
    return render(request, "accounts/login.html", context, status=status)


@sensitive_post_parameters("password")
@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def signup_page(request: HttpRequest) -> HttpResponse:
    """`/signup`"""
    if request.user.is_authenticated or not settings.SIGNUP_ENABLED:
        return redirect("accounts:login")
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = services.sign_up(**form.cleaned_data, username="", address=client_address(request))
        except Problem as problem:
            _tell(form, problem)
        else:
            _enter(request, user, remember=True)
            return HttpResponseRedirect(settings.LOGIN_REDIRECT_URL)
    return render(request, "accounts/signup.html", {"form": form})


@require_POST
@csrf_protect
def logout_page(request: HttpRequest) -> HttpResponse:
    """`POST /logout` (never by GET: H02)"""
    user = request.user
    known = user if isinstance(user, User) else None
    logout(request)
    if known is not None:
        services.note_cookie_sign_out(known)
    return redirect("accounts:login")


@sensitive_post_parameters("old_password", "password", "repeated")
@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def password_page(request: HttpRequest) -> HttpResponse:
    """`/password`; the only page for somebody who must change it."""
    user = request.user
    assert isinstance(user, User)
    forced = user.must_change_password
    form = PasswordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.change_password(user, old=form.cleaned_data["old_password"], new=form.cleaned_data["password"], keep=None, actor=user.as_actor())
        except Problem as problem:
            _tell(form, problem)
        else:
            update_session_auth_hash(request, user)
            messages.success(request, _("Your password was changed; all other sessions were ended."))
            return HttpResponseRedirect(settings.LOGIN_REDIRECT_URL if forced else request.path)
    return render(request, "accounts/password.html", {"form": form, "forced": forced})


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile_page(request: HttpRequest) -> HttpResponse:
    """`/profile`"""
    user = request.user
    assert isinstance(user, User)
    known = {"name": user.name, "username": user.username, "time_zone": user.time_zone}
    form = ProfileForm(request.POST or None, initial=known)
    if user.username == user.email:
        form.fields["username"].validators = []  # made before usernames had a shape; it may stay as it is
    if request.method == "POST" and form.is_valid():
        changes = {name: value for name, value in form.cleaned_data.items() if value != known[name]}
        try:
            if changes:
                services.update_profile(user, changes=changes, actor=user.as_actor())
        except Problem as problem:
            user.refresh_from_db()
            _tell(form, problem)
        else:
            messages.success(request, _("Your profile was saved."))
            return HttpResponseRedirect(request.path)
    return render(request, "accounts/profile.html", {"form": form, "person": user})
