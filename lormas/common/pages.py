"""What console pages share: who may open them, how a problem is told, toasts, and pages of a list. Knows no room."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast
from urllib.parse import urlencode

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import BadRequest
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

from lormas.common.errors import NotSignedIn, Problem

log = structlog.get_logger(__name__)
View = Callable[..., HttpResponse]
FADE_MS = 6000
TOAST_TAG = "toast"
"""Messages with this tag hold a Toast as JSON."""


@dataclass(frozen=True, slots=True)
class Toast:
    """A short word after an act. Red ones stay until dismissed; the others fade."""

    title: str
    text: str = ""
    tone: Literal["green", "blue", "amber", "red"] = "green"
    link: str = ""
    link_text: str = ""
    id: str = ""
    replaces: str = ""
    """Id of an earlier toast that this one makes stale."""
    request_id: str = ""

    @property
    def fade_ms(self) -> int:
        """0: stays."""
        return 0 if self.tone in ("red", "blue") else FADE_MS


def is_htmx(request: HttpRequest) -> bool:
    """Is only a fragment wanted?"""
    return request.headers.get("HX-Request") == "true"


def signed_in(view: View) -> View:
    """For every page but the gate: signed in, and not before a password that must be changed was changed."""

    @functools.wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        user: Any = request.user
        if not user.is_authenticated:
            if is_htmx(request):
                here = request.headers.get("HX-Current-URL", "/")
                back = here if url_has_allowed_host_and_scheme(here, {request.get_host()}) else "/"
                return HttpResponse(status=204, headers={"HX-Redirect": f"{_login()}?{urlencode({'next': back})}"})
            return redirect_to_login(request.get_full_path())
        if getattr(user, "must_change_password", False) and not is_htmx(request):
            try:
                return HttpResponseRedirect(reverse("accounts:password"))
            except NoReverseMatch:
                pass
        response = view(request, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return inner


def _login() -> str:
    try:
        return reverse("accounts:login")
    except NoReverseMatch:
        return "/login"


def render_toast(toast: Toast) -> str:
    """As an out-of-band swap into the page's toasts."""
    return render_to_string("console/_toast.html", {"toast": toast, "oob": True})


def answer(request: HttpRequest, toast: Toast | None, *, to: str, body: str = "", status: int = 200) -> HttpResponse:
    """After an act: with htmx the fragments of `body` and a toast, without it a redirect to `to` and a message."""
    if is_htmx(request):
        return HttpResponse(body + (render_toast(toast) if toast else ""), status=status)
    if toast is not None:
        level = messages.ERROR if toast.tone == "red" else messages.SUCCESS
        messages.add_message(request, level, json.dumps(asdict(toast)), extra_tags=TOAST_TAG)
    return HttpResponseRedirect(to)


def page_of(request: HttpRequest, rows: QuerySet[Any] | list[Any], *, size: int = 25) -> Page[Any]:
    """The page that `?page=` names, or the nearest there is."""
    return Paginator(rows, size).get_page(request.GET.get("page"))


def problem_page(request: HttpRequest, problem: Problem) -> HttpResponse:
    """A problem as a page, or as a toast where a fragment was asked for."""
    request_id = str(getattr(request, "id", ""))
    if is_htmx(request):
        fields = " ".join(f"{error.field}: {error.message}" for error in problem.errors)
        toast = Toast(problem.title, f"{problem.detail} {fields}".strip(), tone="red", request_id=request_id)
        return HttpResponse(render_toast(toast), status=problem.status, headers={"HX-Reswap": "none"})
    return render(
        request, "error.html", {"status": problem.status, "title": problem.title, "detail": problem.detail, "problem": problem}, status=problem.status
    )


class ProblemPages:
    """Turns a Problem that a page raises into a page or a toast; the API has its own handler."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, Problem) or request.path.startswith("/api/"):
            return None
        if isinstance(exception, NotSignedIn):
            return redirect_to_login(request.get_full_path())
        log.info("page.problem", status=exception.status, code=exception.code, path=request.path)
        return problem_page(request, exception)


def whole(request: HttpRequest, name: str, default: int, *, minimum: int = 0, maximum: int = 1_000_000) -> int:
    """A whole number from the query.

    Raises:
        BadRequest: not a number.
    """
    given = request.GET.get(name, "")
    if not given:
        return default
    try:
        return max(minimum, min(maximum, int(given)))
    except ValueError as error:
        raise BadRequest(_("%(name)s must be a whole number.") % {"name": name}) from error


def person(request: HttpRequest) -> Any:
    """The signed-in person of a page behind `signed_in`."""
    return cast("Any", request.user)
