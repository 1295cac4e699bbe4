"""What happens to every request before any view: its id, its address, one log line, one spelling of its path."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Awaitable, Callable

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import is_valid_path
from django.utils.cache import patch_vary_headers

from lormas.common.addresses import client_address

log = structlog.get_logger("lormas.http")
_GOOD = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_QUIET = ("/healthz", "/readyz", "/api/healthz", "/metrics", "/static/")
_OWN_CACHE = ("/static/", "/preview/")
"""Below these what answers says itself how long it may be kept."""

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class _Around:
    """A middleware of two steps that runs under WSGI and ASGI alike; neither step may block."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def before(self, request: HttpRequest) -> None:
        """Ahead of all later middleware."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Behind all later middleware."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self._call_async(request)
        self.before(request)
        response = self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        self.after(request, response)
        return response

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        self.before(request)
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        self.after(request, response)
        return response


class RequestIdMiddleware(_Around):
    """Takes `X-Request-ID` if it is well-formed, else makes one; binds it and the client's address to every log line.

    Sets `request.id`, the answer's header, and writes one line per request: without the query string, which may carry secrets (M9).
    """

    def before(self, request: HttpRequest) -> None:
        given = request.headers.get("X-Request-ID", "")
        request.id = given if _GOOD.match(given) else str(uuid.uuid4())  # type: ignore[attr-defined]
        request.began = time.perf_counter()  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.id, client_address=client_address(request))  # type: ignore[attr-defined]

    def after(self, request: HttpRequest, response: HttpResponseBase) -> None:
        response.headers["X-Request-ID"] = request.id  # type: ignore[attr-defined]
        write = log.debug if request.path.startswith(_QUIET) else log.info
        took_ms = round((time.perf_counter() - request.began) * 1000, 1)  # type: ignore[attr-defined]
        write("http.request", method=request.method, path=request.path, status=response.status_code, ms=took_ms)


def is_api(path: str) -> bool:
    """Is the asker a program?"""
    return path == "/api" or path.startswith("/api/")


class ApiMiddleware(_Around):
    """Both trailing-slash spellings reach the same view without a redirect.

    Answers are private unless they say else, and tell the limit that counted them.
    """

    def before(self, request: HttpRequest) -> None:
        path = request.path_info
        if not path.endswith("/") or path == "/":
            if path == "/api":
                request.path_info = "/api/"
            return
        if is_api(path):
            bare = path.rstrip("/")
            request.path_info = f"{bare}/" if bare in ("/api", "/api/v1") else bare
        elif not is_valid_path(path, getattr(request, "urlconf", None)):
            request.path_info = path.rstrip("/") or "/"

    def after(self, request: HttpRequest, response: HttpResponseBase) -> None:
        verdict = getattr(request, "rate_verdict", None)
        if verdict is not None:
            response.headers["X-RateLimit-Limit"] = str(verdict.limit)
            response.headers["X-RateLimit-Remaining"] = str(verdict.remaining)
            response.headers["X-RateLimit-Reset"] = str(verdict.reset_seconds)
            if response.status_code == 429:
                response.headers.setdefault("Retry-After", str(verdict.reset_seconds))
        if not response.has_header("Cache-Control") and not request.path_info.startswith(_OWN_CACHE):
            response.headers["Cache-Control"] = "no-store"
        if not is_api(request.path_info):
            return
        patch_vary_headers(response, ["Accept", "Authorization", "Cookie"])
        if isinstance(response, HttpResponse):
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
