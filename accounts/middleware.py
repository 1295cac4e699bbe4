"""People who have to change their password first see no other page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from lormas.common.middleware import is_api

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class PasswordChangeMiddleware:
    """Redirects pages (not the API, which answers 403 itself) to the password form."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def _concerned(self, request: HttpRequest) -> bool:
        return settings.SESSION_COOKIE_NAME in request.COOKIES and not is_api(request.path_info) and not request.path_info.startswith("/static/")

    def _answer(self, request: HttpRequest, must_change: bool) -> HttpResponse | None:
        form = reverse("accounts:password")
        if not must_change or request.path_info in (form, reverse("accounts:logout")):
            return None
        if request.headers.get("HX-Request"):
            return HttpResponse(status=204, headers={"HX-Redirect": form})
        return redirect(form)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self._call_async(request)
        if self._concerned(request):
            answer = self._answer(request, getattr(request.user, "must_change_password", False))
            if answer is not None:
                return answer
        return self.get_response(request)

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        if self._concerned(request):
            user = await request.auser()
            answer = self._answer(request, getattr(user, "must_change_password", False))
            if answer is not None:
                return answer
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        return response
