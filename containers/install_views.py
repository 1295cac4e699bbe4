"""Pages about installing, and the prompts of the console page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from containers import services
from containers.access import get_container, rights
from containers.buttons import reinstall_button
from containers.models import Container
from containers.services import prompts as asked
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, person, signed_in
from nodes.operation_views import started_toast


def prompts_context(container: Container, user: Any) -> dict[str, Any]:
    """What the fragment needs."""
    return {
        "container": container,
        "prompts": asked.open_prompts(container) if container.prompts else [],
        "may_answer": "containers.edit" in rights(user, container),
    }


@require_GET
@signed_in
def prompts(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Fragment of the console page."""
    user = person(request)
    container = get_container(user, container_id)
    return render(request, "containers/_prompts.html", prompts_context(container, user))


@require_POST
@signed_in
def answer_prompt(request: HttpRequest, container_id: UUID, feature: str) -> HttpResponse:
    user = person(request)
    container = get_container(user, container_id, "containers.edit")
    back = reverse("containers:detail", args=[container.pk])
    if request.POST.get("dismiss"):
        asked.dismiss(container, feature, actor=user.as_actor())
        return answer(request, Toast(_("Put away until its console asks again")), to=back)
    value = "" if request.POST.get("unchanged") else request.POST.get("value", "")
    operation = asked.answer(container, feature, value=value, user=user, actor=user.as_actor())
    return answer(request, started_toast(operation), to=back)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def reinstall(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """The page that says what happens to its files; a tick confirms."""
    user = person(request)
    container = get_container(user, container_id, "containers.edit")
    wrong = ""
    if request.method == "POST":
        if request.POST.get("confirm") != "1":
            wrong = _("Tick the box to go on.")
        else:
            try:
                operation = services.reinstall(container, user=user, actor=user.as_actor())
            except Problem as problem:
                if request.htmx:  # type: ignore[attr-defined]
                    raise
                wrong = problem.detail
            else:
                return answer(request, started_toast(operation), to=reverse("containers:detail", args=[container.pk]))
    context = {"container": container, "tab": "settings", "button": reinstall_button(container, user), "wrong": wrong}
    return render(request, "containers/reinstall.html", context, status=400 if wrong else 200)
