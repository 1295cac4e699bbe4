"""Exceptions -> problem+json. Never a stack trace, never HTML to an API client."""

from __future__ import annotations

from typing import Any

import structlog
from django.core import exceptions as django_errors
from django.core.signals import got_request_exception
from django.db.models import ProtectedError
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions as drf_errors
from rest_framework.response import Response

from lormas.common.api import problems, throttling
from lormas.common.bodies import drop_files
from lormas.common.database import trouble
from lormas.common.errors import FieldError, Problem

log = structlog.get_logger(__name__)


def flatten(detail: Any, *, path: str = "") -> list[FieldError]:
    """DRF's nested error detail as a flat list; `ports.0.host` names a nested field, "" the whole body."""
    if isinstance(detail, dict):
        found: list[FieldError] = []
        for key, child in detail.items():
            name = "" if key == "non_field_errors" else str(key)
            found += flatten(child, path=".".join(part for part in (path, name) if part))
        return found
    if isinstance(detail, list | tuple):
        found = []
        for index, child in enumerate(detail):
            found += flatten(child, path=f"{path}.{index}".strip(".") if isinstance(child, dict | list) else path)
        return found
    return [FieldError(path, str(detail), str(getattr(detail, "code", "") or "invalid"))]


def _sentence(errors: list[FieldError]) -> str:
    if not errors:
        return "The input is invalid."
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.field}: {first.message}{more}" if first.field else f"{first.message}{more}"


def _from_drf(error: drf_errors.APIException) -> dict[str, Any]:
    if isinstance(error, drf_errors.ValidationError):
        errors = flatten(error.detail)
        return {"status": 400, "code": "invalid", "title": "Invalid input", "detail": _sentence(errors), "errors": errors}
    detail = error.detail if isinstance(error.detail, str) else _sentence(flatten(error.detail))
    code = {
        drf_errors.ParseError: "malformed",
        drf_errors.NotAuthenticated: "not_signed_in",
        drf_errors.PermissionDenied: "forbidden",
        drf_errors.Throttled: "too_many_requests",
    }.get(type(error)) or str(getattr(error.detail, "code", "") or "")
    if code == "permission_denied":
        code = "forbidden"
    if code == "authentication_failed":
        code = "not_signed_in"
    wait: float | None = getattr(error, "wait", None)
    extra = {"retry_after": max(1, round(wait))} if wait is not None else {}
    if isinstance(error, drf_errors.Throttled):
        seconds = f"wait {extra['retry_after']} seconds" if extra else "wait a moment"
        return {"status": 429, "code": code, "title": "Too many requests", "detail": f"Too many requests: {seconds}, then try again.", "extra": extra}
    return {"status": error.status_code, "code": code, "detail": str(detail), "extra": extra}


def _known(error: Exception) -> dict[str, Any] | None:
    """The problem that an exception means; None for one that nobody expected."""
    if isinstance(error, Problem):
        return {
            "status": error.status,
            "code": error.code,
            "title": error.title,
            "detail": error.detail,
            "errors": error.errors,
            "extra": error.extra,
        }
    if isinstance(error, drf_errors.APIException):
        return _from_drf(error)
    if isinstance(error, Http404):
        return {"status": 404, "detail": "There is nothing here, or you may not see it."}
    if isinstance(error, django_errors.PermissionDenied):
        return {"status": 403, "detail": str(error) or "You may not do this."}
    if isinstance(error, django_errors.RequestDataTooBig):
        return {"status": 413, "detail": "The body is larger than this route takes."}
    if isinstance(error, django_errors.SuspiciousOperation | MultiPartParserError):
        return {"status": 400, "code": "malformed", "detail": "The request is malformed."}
    if isinstance(error, django_errors.ValidationError):
        errors = flatten(error.message_dict if hasattr(error, "error_dict") else {"": error.messages})
        return {"status": 400, "code": "invalid", "title": "Invalid input", "detail": _sentence(errors), "errors": errors}
    if isinstance(error, ProtectedError):
        kinds = sorted({str(found._meta.verbose_name) for found in error.protected_objects})
        return {"status": 409, "code": "in_use", "detail": f"It is still in use by: {', '.join(kinds)}."}
    return None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER. An unexpected error is logged whole under the request id; the client gets the id only."""
    request = context.get("request")
    http_request = getattr(request, "_request", request)
    wait = throttling.late(request, context.get("view"))
    if wait is not None:
        error = drf_errors.Throttled(wait)
    found = trouble(error)
    if found is not None:
        if isinstance(error, OSError):
            drop_files(http_request)
        log.error("api.database_trouble", path=getattr(http_request, "path", ""), code=found.code, error=str(error)[:300])
        error = found
    if isinstance(error, Problem) and error.verdict is not None and http_request is not None:
        throttling.note(http_request, error.verdict)
    known = _known(error)
    if known is None:
        log.exception("api.unexpected_error", path=getattr(http_request, "path", ""), error=type(error).__name__)
        got_request_exception.send(sender=type(context.get("view")), request=http_request)
        known = {"status": 500, "detail": "Something went wrong on our side. Name the request id when you report it."}
    status = known.pop("status")
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    retry_after = (known.get("extra") or {}).get("retry_after")
    if retry_after is not None:
        headers["Retry-After"] = str(int(retry_after))
    return Response(problems.body(status, request_id=str(getattr(http_request, "id", "")), **known), status=status, headers=headers)
