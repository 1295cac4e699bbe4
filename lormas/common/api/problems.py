"""Building problem+json bodies (RFC 9457), inside DRF and outside of it."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import structlog
from django.http import HttpRequest, HttpResponse, JsonResponse

from lormas.common.api import dialect
from lormas.common.errors import FieldError

CONTENT_TYPE: Final = "application/problem+json"
CODES: Final = {
    400: "bad_request",
    401: "not_signed_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
    500: "internal",
}


def body(
    status: int,
    *,
    detail: str = "",
    code: str = "",
    title: str = "",
    errors: Iterable[FieldError] = (),
    extra: dict[str, Any] | None = None,
    request_id: str = "",
) -> dialect.ProblemBody:
    """One problem. `extra` becomes members of its own, but never replaces a standard one."""
    code = code or CODES.get(status, "error")
    made = dialect.ProblemBody(extra or {})
    made.update(
        type=f"urn:lormas:problem:{code}",
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=[{"field": error.field, "message": error.message, "code": error.code} for error in errors],
        request_id=request_id or str(structlog.contextvars.get_contextvars().get("request_id", "")),
    )
    return made


def response(request: HttpRequest, status: int, **kwargs: Any) -> HttpResponse:
    """A problem answered outside of DRF (middleware, unknown addresses), in the dialect of the path."""
    problem = body(status, request_id=str(getattr(request, "id", "")), **kwargs)
    if dialect.speaks_envelope(request.path_info):
        return JsonResponse(dialect.problem_envelope(problem, status=status), status=status)
    return JsonResponse(problem, status=status, content_type=CONTENT_TYPE)
