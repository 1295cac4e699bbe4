"""allauth's hooks: its OAuth 2 client asks the providers, `accounts.social.services` decides, our gate signs in."""

from __future__ import annotations

from typing import Any

import structlog
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.providers.base.constants import AuthError
from allauth.socialaccount.providers.discord.views import DiscordOAuth2Adapter
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts import entering
from accounts.models import User
from accounts.redirects import safe_next
from accounts.social import dialects, services
from lormas.common.addresses import client_address
from lormas.common.errors import Problem

log = structlog.get_logger(__name__)


class _Ours:
    """What both adapters share."""

    provider_id: str

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        """From the configured address, never from the request's Host (E16)."""
        return f"{settings.PUBLIC_URL}{reverse(f'{self.provider_id}_callback')}"


class GitHub(_Ours, GitHubOAuth2Adapter):  # type: ignore[misc]
    """GitHub, and GitHub Enterprise by `GITHUB_URL`."""

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        headers = {"Authorization": f"token {token.token}"}
        with get_adapter().get_requests_session() as session:
            found = session.get(self.profile_url, headers=headers)
            found.raise_for_status()
        emails = self.get_emails(headers)
        return Arrived(dialects.github(found.json(), emails))


class Discord(_Ours, DiscordOAuth2Adapter):  # type: ignore[misc]
    """Discord."""

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        with get_adapter().get_requests_session() as session:
            found = session.get(self.profile_url, headers={"Authorization": f"Bearer {token.token}"})
            found.raise_for_status()
        return Arrived(dialects.discord(found.json()))


class Arrived:
    """Stands in for allauth's SocialLogin: it carries the answer and its state as far as `complete_login` of the view below."""

    is_headless = False

    def __init__(self, answer: dialects.Answer) -> None:
        self.answer = answer
        self.token: Any = None
        self.state: dict[str, Any] = {}


def arrive(request: HttpRequest, arrived: Arrived) -> HttpResponse:
    """After a provider's yes: sign in, or connect to who is signed in. Problems become a page that says what to do."""
    answer, state = arrived.answer, arrived.state
    target = safe_next(state.get("next"))
    user = request.user
    try:
        if state.get("process") == AuthProcess.CONNECT:
            if not isinstance(user, User) or str(user.pk) != (state.get("data") or {}).get("user"):
                return trouble(request, services.NAMES[answer.provider], _("You are not signed in as the one who began this."), status=403)
            services.connect(answer, user, actor=user.as_actor(client_address(request)))
            messages.success(request, _("%(name)s signs you in from now on.") % {"name": services.NAMES[answer.provider]})
            return redirect("accounts:settings")
        found = services.enter(answer, address=client_address(request))
    except Problem as problem:
        return trouble(request, services.NAMES[answer.provider], problem.detail, status=problem.status)
    return entering.admit(request, found, remember=True, target=target, by=answer.provider)


def trouble(request: HttpRequest, name: str, detail: str, *, status: int) -> HttpResponse:
    """The page of a sign-in by a provider that did not work."""
    return render(request, "accounts/social_trouble.html", {"name": name, "detail": detail}, status=status)


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Errors on the way to or from a provider."""

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        name = services.NAMES.get(provider.id, provider.id)
        if error == AuthError.CANCELLED:
            raise ImmediateHttpResponse(trouble(request, name, _("You said no there. Nothing was changed."), status=200))
        log.warning("social.failed", provider=provider.id, error=type(exception).__name__ if exception else "state")
        if exception is None:
            detail = _("This answer belongs to no sign-in that was begun in this browser, or came too late. Begin again.")
            raise ImmediateHttpResponse(trouble(request, name, detail, status=400))
        detail = _("%(name)s did not answer as it should. Try again in a minute, or sign in another way.") % {"name": name}
        raise ImmediateHttpResponse(trouble(request, name, detail, status=502))
