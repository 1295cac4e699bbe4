"""The Settings tab of a container: a section at a time, each saying when it counts; its revisions and its drift."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from containers import tunnel_views
from containers.access import get_container, rights
from containers.buttons import reinstall_button
from containers.models import Container, LogAlert
from containers.services import drift, edit, revisions, scripts
from containers.services.create import PortWish
from containers.services.install import installs
from containers.services.limits import can_update
from containers.services.manners import settings_of
from containers.settings_forms import SECTIONS, initial, posted_ports
from containers.variables import edits
from containers.views import frame, kept_for
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, page_of, person, signed_in
from nodes.operation_views import started_toast

SCRIPT_SECONDS = 60


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def settings_page(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """`section` names the form that was sent; without one it is the general one. `apply` = now: restart where that is needed."""
    user = person(request)
    if request.method != "POST":
        container = get_container(user, container_id)
        return _page(request, container, {}, "")
    container = get_container(user, container_id, "containers.edit")
    now = request.POST.get("apply") == "now"
    if now:
        get_container(user, container_id, "containers.stop")
    section = request.POST.get("section", "general")
    wishes: list[PortWish] | None = None
    form: Any = None
    if section == "ports":
        wishes, wrong = posted_ports(request.POST)
        if wrong:
            return _page(request, container, {}, wrong)
        changes: dict[str, Any] = {}
    else:
        form = SECTIONS.get(section, SECTIONS["general"])(request.POST)
        if not form.is_valid():
            return _page(request, container, {section: form}, "")
        changes = form.changes()
    try:
        done = edit.change(container, user=user, actor=user.as_actor(), changes=changes, wishes=wishes)
    except Problem as problem:
        container = get_container(user, container_id)
        if form is None:
            return _page(request, container, {}, " ".join(error.message for error in problem.errors) or problem.detail)
        form.take(problem)
        return _page(request, container, {section: form}, "")
    return _saved(request, done, now=now)


def _saved(request: HttpRequest, done: edit.Outcome, *, now: bool, to: str = "containers:settings") -> HttpResponse:
    address = reverse(to, args=[done.container.pk])
    if now and done.needs_restart:
        user = person(request)
        try:
            return answer(request, started_toast(edit.restart_for(done.container, user=user, actor=user.as_actor())), to=address)
        except Problem as problem:
            return answer(request, Toast(_("Saved, but not restarted"), problem.detail, tone="amber"), to=address)
    if done.operation is not None:
        return answer(request, started_toast(done.operation), to=address)
    return answer(request, Toast(_("Settings saved"), _("They count from its next start.") if done.needs_restart else ""), to=address)


def show(request: HttpRequest, container: Container, *, tunnel_problem: str, status: int) -> HttpResponse:
    """The page with what its tunnel's part was refused."""
    return _page(request, container, {}, "", tunnel_problem=tunnel_problem, status=status)


def _page(
    request: HttpRequest, container: Container, sent: dict[str, Any], ports_problem: str, *, tunnel_problem: str = "", status: int = 0
) -> HttpResponse:
    user = person(request)
    editable = "containers.edit" in rights(user, container)
    forms = {name: sent.get(name) or made(initial=initial(container, name, to_editor=editable)) for name, made in SECTIONS.items()}
    for form in forms.values():
        form.auto_id = "id_%s"
        if not editable:
            for field in form.fields.values():
                field.disabled = True
    context = {
        **frame(user, container, "settings"),
        "forms": forms,
        "form": forms["general"],
        "ports_problem": ports_problem,
        "in_place": can_update(container),
        "runs": container.observed in ("running", "paused"),
        "has_script": bool(settings_of(container).startup_script),
        "blank_rows": range(container.ports.count(), container.ports.count() + 2),
        "kept": kept_for(),
        "alerts": LogAlert.objects.filter(container=container),
        "tunnel_problem": tunnel_problem,
        **tunnel_views.part(container, ask=False),
    }
    if installs(container):
        context["reinstall"] = reinstall_button(container, user)
    return render(request, "containers/settings.html", context, status=status or (400 if sent or ports_problem else 200))


@require_POST
@signed_in
def run_script(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Run the stored startup script now; the page shows what it wrote."""
    user = person(request)
    container = get_container(user, container_id, "containers.exec")
    problem, done = "", {}
    try:
        done = scripts.run_now(container, script=None, timeout_seconds=SCRIPT_SECONDS, actor=user.as_actor())
    except Problem as refused:
        problem = refused.detail
    context = {**frame(user, container, "settings"), "done": done, "problem": problem}
    return render(request, "containers/script_run.html", context, status=200 if done else 409)


@require_GET
@signed_in
def history(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """All revisions with their diffs."""
    user = person(request)
    container = get_container(user, container_id)
    page = page_of(request, container.revisions.all(), size=20)
    rows = revisions.changes_of(container, list(page.object_list), to_editor=edits(user, container))
    newest = rows[0][0].number if rows and page.number == 1 else 0
    context = {**frame(user, container, "settings"), "page": page, "rows": rows, "newest": newest}
    return render(request, "containers/revisions.html", context)


@require_POST
@signed_in
def roll_back(request: HttpRequest, container_id: UUID, number: int) -> HttpResponse:
    user = person(request)
    container = get_container(user, container_id, "containers.edit")
    now = request.POST.get("apply") == "now"
    if now:
        get_container(user, container_id, "containers.stop")
    done = edit.roll_back(container, number, user=user, actor=user.as_actor())
    return _saved(request, done, now=now, to="containers:revisions")


@require_GET
@signed_in
def drift_part(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Fragment: what its node says of the container, beside what is wanted."""
    user = person(request)
    container = get_container(user, container_id, "containers.edit")
    context: dict[str, Any] = {"container": container}
    try:
        context["found"] = drift.find(container)
    except Problem as problem:
        context["problem"] = problem.detail
    return render(request, "containers/_drift.html", context)


@require_POST
@signed_in
def settle_drift(request: HttpRequest, container_id: UUID, way: str) -> HttpResponse:
    """`reapply` or `adopt`."""
    user = person(request)
    container = get_container(user, container_id, "containers.edit")
    address = reverse("containers:revisions", args=[container.pk])
    if way == "adopt":
        return _saved(request, drift.adopt(container, user=user, actor=user.as_actor()), now=False, to="containers:revisions")
    get_container(user, container_id, "containers.stop")
    operation = drift.reapply(container, user=user, actor=user.as_actor())
    toast = started_toast(operation) if operation is not None else Toast(_("Its next start makes it anew."))
    return answer(request, toast, to=address)
