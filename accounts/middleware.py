"""Cookie sessions: people who are held back see only the page that mends it; when each was last seen; and who sees as somebody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import Resolver404, resolve, reverse
from django.utils.translation import gettext as _

from accounts import impersonation, sessions
from accounts.models import User
from accounts.standing import hold_of
from lormas.common.api import problems
from lormas.common.errors import Forbidden
from lormas.common.middleware import is_api
from lormas.common.pages import Toast, answer, problem_page

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class _Gate:
    """Looks at each request that comes with a session's cookie, and may answer it in the view's place. Runs under WSGI and ASGI alike."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def _concerned(self, request: HttpRequest) -> bool:
        return settings.SESSION_COOKIE_NAME in request.COOKIES and not request.path_info.startswith("/static/")

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        """The answer in the view's place, or None. May use the database."""
        raise NotImplementedError

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self._call_async(request)
        answer = self._answer(request) if self._concerned(request) else None
        return answer if answer is not None else self.get_response(request)

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        answer = await sync_to_async(self._answer)(request) if self._concerned(request) else None
        if answer is not None:
            return answer
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        return response


class StandingMiddleware(_Gate):
    """Redirects pages (not the API, which answers 403 itself) to what must be done first."""

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        user = request.user
        if not user.is_authenticated:
            return None
        sessions.seen(request)
        hold = hold_of(user)
        if hold is None or is_api(request.path_info):
            return None
        try:
            name = resolve(request.path_info).view_name
        except Resolver404:
            return None
        if name in hold.pages:
            return None
        page = reverse(hold.page)
        if request.headers.get("HX-Request"):
            return HttpResponse(status=204, headers={"HX-Redirect": page})
        return redirect(page)


OWN = frozenset({"accounts:logout", "people:leave"})
"""Pages that are about who really sits there."""
HARMLESS = frozenset({"accounts-session", "accounts-me", "accounts-whoami", "accounts-providers"})


class ImpersonationMiddleware(_Gate):
    """`request.user` is the person through whose eyes this session looks. Their credentials stay shut; what may not be any more ends."""

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        by = request.user
        if impersonation.KEY not in request.session or not isinstance(by, User):
            return None
        seen = impersonation.seen_as(by, request.session)
        if isinstance(seen, impersonation.Ended):
            impersonation.end(by, session=request.session, actor=by.as_actor(), why=seen.why)
            if is_api(request.path_info):
                return problems.response(request, 403, detail=seen.why, code="impersonation_ended")
            return answer(request, Toast(_("You are yourself again"), seen.why, tone="amber"), to="/")
        try:
            match = resolve(request.path_info)
        except Resolver404:
            match = None
        name = match.view_name if match is not None else ""
        if name in OWN:
            if name == "accounts:logout" and request.method == "POST":
                impersonation.end(by, session=request.session, actor=by.as_actor(), why="signed out")
            return None
        request.user = seen
        if name.startswith("accounts:"):
            refusal = Forbidden(_("That is theirs alone: sign-in, keys and sessions stay shut while you see as somebody else."), code="impersonating")
            return problem_page(request, refusal)
        if match is not None and (match.url_name or "").startswith("accounts-") and match.url_name not in HARMLESS and is_api(request.path_info):
            return problems.response(request, 403, detail="Sign-in, keys and sessions of somebody else stay shut.", code="impersonating")
        return None
