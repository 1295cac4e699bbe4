"""What was refused belongs in the journal too (I04)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from audit.denials import note_denied
from audit.idempotency import MUTATIONS
from audit.services import ANONYMOUS, Target, watch_refusals
from lormas.common.addresses import client_address
from lormas.common.errors import FORBIDDEN

WORDS = {401: "not signed in", 403: "not allowed", 404: "not there, or not theirs to see"}


def _refusal(request: HttpRequest, response: HttpResponseBase, forbidden: list[str]) -> int:
    """401, 403 or 404 where a mutation was refused for who asked, whatever the page made of it; else 0."""
    if request.method not in MUTATIONS:
        return 0
    if response.status_code in (401, 403):
        return response.status_code
    match = request.resolver_match
    if response.status_code == 404 and match is not None and match.url_name:
        return 404
    to_the_gate = response.headers.get("Location") or response.headers.get("HX-Redirect") or ""
    if to_the_gate.startswith(f"{settings.LOGIN_URL}?next="):
        return 401
    return 403 if forbidden else 0


def _note(request: HttpRequest, status: int) -> None:
    user = getattr(request, "user", None)
    as_actor = getattr(user, "as_actor", None)
    match = request.resolver_match
    target = Target("route", str(match.view_name if match else "")[:64], request.path[:255])
    actor = as_actor() if as_actor and status != 401 else ANONYMOUS
    note_denied("api.denied", actor=actor, target=target, message=f"{request.method}: {WORDS[status]}.", address=client_address(request))


def _watch_forbidden() -> list[str]:
    said: list[str] = []
    FORBIDDEN.set(said)
    return said


class DenialMiddleware:
    """One row per refused mutation, unless the act has written one itself."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self._call_async(request)
        told, forbidden = watch_refusals(), _watch_forbidden()
        response = self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        status = _refusal(request, response, forbidden)
        if status and not told:
            _note(request, status)
        return response

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        told, forbidden = watch_refusals(), _watch_forbidden()
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        status = _refusal(request, response, forbidden)
        if status and not told:
            await sync_to_async(_note)(request, status)
        return response
