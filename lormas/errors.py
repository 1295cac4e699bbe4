"""What an address answers when no view does: problem+json to programs, the console's pages to people."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from lormas.common.api import problems
from lormas.common.bodies import drop_files
from lormas.common.database import trouble
from lormas.common.errors import Problem
from lormas.common.middleware import is_api


@csrf_exempt
def unknown_api(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Any address under `/api/` that no route has; the same in debug mode."""
    return problems.response(request, 404, detail="There is no such route; GET /api/schema/ lists them.", code="no_such_route")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400"""
    if is_api(request.path):
        return problems.response(request, 400, code="malformed", detail="The request is malformed.")
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403"""
    if is_api(request.path):
        return problems.response(request, 403, detail="You may not do this.")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404"""
    if is_api(request.path):
        return problems.response(request, 404, detail="There is nothing here, or you may not see it.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500; Django has logged the exception."""
    error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
    found = trouble(error) if error is not None else None
    if found is not None:
        if isinstance(error, OSError):
            drop_files(request)
        return _trouble(request, found)
    if is_api(request.path):
        return problems.response(request, 500, detail="Something went wrong on our side. Name the request id when you report it.")
    page = loader.get_template("500.html").render({"request_id": getattr(request, "id", "")})  # Django's own view renders it without any context
    return HttpResponse(page, status=500)


def _trouble(request: HttpRequest, found: Problem) -> HttpResponse:
    """The page needs no database: nobody knows who asks."""
    if is_api(request.path):
        response = problems.response(request, found.status, code=found.code, title=found.title, detail=found.detail, extra=found.extra)
    else:
        response = HttpResponse(loader.get_template("503.html").render({"title": found.title, "detail": found.detail}), status=found.status)
    if wait := found.extra.get("retry_after"):
        response.headers["Retry-After"] = str(wait)
    return response
