"""What was refused belongs in the journal too (I04)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseBase

from audit.idempotency import MUTATIONS
from audit.services import ANONYMOUS, Target, record


def _note(request: HttpRequest) -> None:
    user = getattr(request, "user", None)
    as_actor = getattr(user, "as_actor", None)
    match = request.resolver_match
    target = Target("route", str(match.view_name if match else "")[:64], request.path[:255])
    record("api.denied", actor=as_actor() if as_actor else ANONYMOUS, target=target, outcome="refused", message=request.method or "")


class DenialMiddleware:
    """One row per mutation that a signed-in person was not allowed."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def _denied(self, request: HttpRequest, response: HttpResponseBase) -> bool:
        return response.status_code == 403 and request.method in MUTATIONS and hasattr(getattr(request, "user", None), "as_actor")

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self._call_async(request)
        response = self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        if self._denied(request, response):
            _note(request)
        return response

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        if response.status_code == 403 and await sync_to_async(self._denied)(request, response):
            await sync_to_async(_note)(request)
        return response
