"""`/accounts/<provider>/login/` and its callback."""

from __future__ import annotations

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import AuthProcess, ProviderException
from allauth.socialaccount.providers.base.constants import AuthError
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods
from requests import RequestException

from accounts import limits, sessions
from accounts.models import User
from accounts.redirects import safe_next
from accounts.social import adapters
from accounts.social.dialects import Nonsense
from accounts.social.services import NAMES
from lormas.common.addresses import client_address
from lormas.common.errors import Problem

ADAPTERS: dict[str, Any] = {"github": adapters.GitHub, "discord": adapters.Discord}


def _configured(name: str) -> Any:
    if not settings.SOCIAL_PROVIDERS.get(name):
        raise Http404
    return ADAPTERS[name]


@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def begin(request: HttpRequest, name: str) -> HttpResponse:
    """Off to the provider; by POST only, for it writes the state into the session (H02). `process=connect` links it to who is signed in."""
    adapter = _configured(name)(request)
    if request.method != "POST":
        return redirect("accounts:login")
    user = request.user
    if request.POST.get("process") == "connect":
        if not isinstance(user, User) or not sessions.is_recent(sessions.of(request)):
            return HttpResponseRedirect("/confirm?next=/settings")
        wish: dict[str, Any] = {"process": AuthProcess.CONNECT, "data": {"user": str(user.pk)}}
    else:
        wish = {"process": AuthProcess.LOGIN, "next_url": safe_next(request.POST.get("next"))}
    try:
        limits.knock((limits.limit("sign_in_address"), client_address(request) or "local"))
    except Problem as problem:
        return adapters.trouble(request, NAMES[name], problem.detail, status=problem.status)
    provider = get_adapter().get_provider(request, name)
    provider.oauth2_adapter_class = type(adapter)
    found: HttpResponse = provider.redirect(request, **wish)
    return found


class _Callback(OAuth2CallbackView):  # type: ignore[misc]
    """allauth's callback up to the profile, then ours."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        provider = self.adapter.get_provider()
        state, refusal = self._get_state(request, provider)
        if refusal:
            found: HttpResponse = refusal
            return found
        if "error" in request.GET or "code" not in request.GET:
            cancelled = request.GET.get("error") == self.adapter.login_cancelled_error
            return _say(request, provider, **({"error": AuthError.CANCELLED} if cancelled else {"exception": ProviderException("no code")}))
        app = provider.app
        try:
            client = self.adapter.get_client(request, app)
            data = self.adapter.get_access_token_data(request, app, client, pkce_code_verifier=state.get("pkce_code_verifier"))
            arrived = self.adapter.complete_login(request, app, self.adapter.parse_token(data), response=data)
        except (PermissionDenied, OAuth2Error, RequestException, ProviderException, Nonsense, KeyError, ValueError, TypeError) as error:
            return _say(request, provider, exception=error)
        arrived.state = state
        return adapters.arrive(request, arrived)


def _say(request: HttpRequest, provider: Any, **what: Any) -> HttpResponse:
    try:
        get_adapter().on_authentication_error(request, provider, **what)
    except ImmediateHttpResponse as found:
        response: HttpResponse = found.response
        return response
    raise AssertionError("on_authentication_error always raises")


@never_cache
@require_http_methods(["GET", "HEAD"])
def callback(request: HttpRequest, name: str) -> HttpResponse:
    """Back from the provider. Its `state` is one that this browser was given for this provider, within ten minutes, once (E14)."""
    view = _Callback.adapter_view(_configured(name))
    response: HttpResponse = view(request)
    return response
