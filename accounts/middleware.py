"""Cookie sessions on pages: people who are held back see only the page that mends it; and when each was last seen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import Resolver404, resolve, reverse

from accounts import sessions
from accounts.standing import hold_of
from lormas.common.middleware import is_api

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class StandingMiddleware:
    """Redirects pages (not the API, which answers 403 itself) to what must be done first."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def _concerned(self, request: HttpRequest) -> bool:
        return settings.SESSION_COOKIE_NAME in request.COOKIES and not request.path_info.startswith("/static/")

    def _answer(self, request: HttpRequest) -> HttpResponse | None:
        """With a look at the database."""
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
