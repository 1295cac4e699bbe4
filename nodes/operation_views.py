"""Pages of operations: the list, one of them, the drawer, and the words with which one ends."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from lormas.common.pages import Toast, answer, page_of, person, render_toast, signed_in
from nodes import operations
from nodes.models import Operation
from nodes.states import OPERATION_OPEN, OperationStatus

DRAWER_ROWS = 30


def sentence(operation: Operation) -> str:
    """`Stop web-1`, from kind and target."""
    noun, _dot, verb = operation.kind.partition(".")
    words = (verb or noun).replace("_", " ").capitalize()
    return f"{words} {operation.target_label}".strip()


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    rows = operations.visible_operations(person(request))
    status = request.GET.get("status", "")
    if status == "open":
        rows = rows.filter(status__in=OPERATION_OPEN)
    elif status in OperationStatus.values:
        rows = rows.filter(status=status)
    text = request.GET.get("search", "").strip()
    if text:
        rows = rows.filter(target_label__icontains=text)
    kinds = ("container", "node", "egg")
    kind = request.GET.get("kind", "")
    if kind in kinds:
        rows = rows.filter(kind__startswith=f"{kind}.")
    page = page_of(request, rows, size=50)
    context = {"page": page, "status": status, "search": text, "kind": kind, "statuses": OperationStatus.choices, "kinds": kinds}
    return render(request, "operations/list.html", context)


@require_GET
@signed_in
def detail(request: HttpRequest, operation_id: UUID) -> HttpResponse:
    operation = operations.get_operation(person(request), operation_id)
    template = "operations/_detail.html" if request.headers.get("X-Live") else "operations/detail.html"
    return render(request, template, {"operation": operation, "commands": operation.commands.select_related("node").order_by("created_at")})


@require_GET
@signed_in
def rows(request: HttpRequest) -> HttpResponse:
    """Fresh rows of the ids named (`?id=…&id=…`)."""
    found = operations.visible_operations(person(request)).filter(pk__in=_ids(request))
    return render(request, "operations/_rows.html", {"operations": found})


def _ids(request: HttpRequest) -> list[UUID]:
    found = []
    for text in request.GET.getlist("id")[:200]:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


@require_GET
@signed_in
def drawer(request: HttpRequest) -> HttpResponse:
    found = operations.visible_operations(person(request))[:DRAWER_ROWS]
    return render(request, "operations/_drawer.html", {"operations": found})


@require_GET
@signed_in
def running(request: HttpRequest) -> HttpResponse:
    """The indicator of the top bar; its context comes from the frame."""
    return render(request, "operations/_running.html")


@require_GET
@signed_in
def ended(request: HttpRequest, operation_id: UUID) -> HttpResponse:
    """The toast that tells how an operation ended; replaces the one that told of its start."""
    operation = operations.get_operation(person(request), operation_id)
    return HttpResponse(end_toast(operation))


def end_toast(operation: Operation) -> str:
    """Out-of-band; takes the place of the toast that told of its start."""
    key = f"toast-op-{operation.pk}"
    if operation.is_open:
        return ""
    good = operation.status == OperationStatus.SUCCEEDED
    tone = "green" if good else "amber" if operation.status == OperationStatus.CANCELLED else "red"
    word = {
        OperationStatus.SUCCEEDED: _("%(what)s: done"),
        OperationStatus.CANCELLED: _("%(what)s: cancelled"),
        OperationStatus.TIMED_OUT: _("%(what)s: took too long"),
    }.get(OperationStatus(operation.status), _("%(what)s: failed"))
    toast = Toast(
        word % {"what": sentence(operation)},
        "" if good else operation.error_detail,
        tone=tone,  # type: ignore[arg-type]
        replaces=key,
        link="" if good else f"/operations/{operation.pk}",
        link_text=_("What happened"),
        request_id="" if good else operation.request_id,
    )
    return render_toast(toast)


def started_toast(operation: Operation) -> Toast:
    """What every act that runs as an operation answers with."""
    return Toast(sentence(operation), tone="blue", link=f"/operations/{operation.pk}", link_text=_("Follow"), id=f"toast-op-{operation.pk}")


@require_POST
@signed_in
def cancel(request: HttpRequest, operation_id: UUID) -> HttpResponse:
    operation = operations.get_operation(person(request), operation_id)
    operations.cancel(operation)
    return answer(request, Toast(_("%(what)s: cancelled") % {"what": sentence(operation)}), to=f"/operations/{operation.pk}")
