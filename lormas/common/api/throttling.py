"""How many requests a stranger's address or a person may make; the answer's headers say what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from lormas.common.addresses import client_address
from lormas.common.ratelimit import Limit, LimiterDown, Verdict

if TYPE_CHECKING:  # it is not whole yet when DRF loads this module
    from rest_framework.views import APIView


def note(request: HttpRequest, verdict: Verdict) -> None:
    """Remember the tightest verdict of this request for `X-RateLimit-*`."""
    known: Verdict | None = getattr(request, "rate_verdict", None)
    if known is None or (verdict.allowed, verdict.remaining) < (known.allowed, known.remaining):
        request.rate_verdict = verdict  # type: ignore[attr-defined]


class ApiThrottle(BaseThrottle):
    """100 / 15 min for an anonymous address, generous for a person (`settings.RATE_LIMITS`). Lets pass while Redis is away."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        request._request.throttled = True  # type: ignore[attr-defined]
        user = request.user
        signed_in = bool(user and user.is_authenticated)
        name = "person" if signed_in else "anonymous"
        limit, window = settings.RATE_LIMITS[name]
        subject = str(user.pk) if signed_in else client_address(request._request) or "local"
        try:
            verdict = Limit(name, limit, window).hit(subject)
        except LimiterDown:
            return True
        note(request._request, verdict)
        self._wait = verdict.reset_seconds
        return verdict.allowed

    def wait(self) -> float | None:
        return float(self._wait)


def late(request: Any, view: Any) -> float | None:
    """Count a request that was refused before the throttles were asked: DRF looks at who calls and what they may first.

    Returns the seconds to wait where it was one too many, else None.
    """
    if not isinstance(request, Request) or view is None or hasattr(request._request, "throttled"):
        return None
    if not hasattr(request, "_user"):
        request._not_authenticated()  # type: ignore[attr-defined]  # the refusal was about who calls: nobody, as far as this is concerned
    for throttle in view.get_throttles():
        if isinstance(throttle, ApiThrottle) and not throttle.allow_request(request, view):
            return throttle.wait()
    return None
