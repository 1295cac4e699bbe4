"""Pages of moving a container to another node, and of the old copies that a node keeps."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from containers.access import get_container
from containers.models import Migration
from containers.services import leftovers, migrate
from containers.views import frame
from lormas.common.errors import Invalid, Problem
from lormas.common.pages import Toast, answer, person, signed_in
from nodes.access import choosable_nodes, get_node, rights
from nodes.operation_views import started_toast


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def move(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Says what happens, where it would go and why; asks where to."""
    user = person(request)
    container = get_container(user, container_id, "containers.choose_node")
    nodes = choosable_nodes(user)
    wrong, chosen = "", request.POST.get("node", "")
    if request.method == "POST":
        try:
            to = get_node(user, chosen) if chosen else None
            operation = migrate.migrate(container, user=user, actor=user.as_actor(), to=to, reason=request.POST.get("reason", "")[:200], among=nodes)
        except Problem as problem:
            wrong = problem.detail
        else:
            return answer(request, started_toast(operation), to=reverse("containers:move", args=[container.pk]))
    running = migrate.running_move(container)
    context = {
        **frame(user, container, "settings"),
        "plan": None if running else migrate.plan(container, among=nodes),
        "running": running,
        "earlier": Migration.objects.filter(container=container, finished_at__isnull=False)[:5],
        "wrong": wrong,
        "chosen": chosen,
        "reason": request.POST.get("reason", ""),
    }
    template = "containers/_move.html" if request.headers.get("X-Live") else "containers/move.html"
    return render(request, template, context, status=400 if wrong else 200)


@require_GET
@signed_in
def left_copies(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """Fragment of the node's page."""
    user = person(request)
    node = get_node(user, node_id)
    may = "nodes.edit" in rights(user, node)  # their names are other people's affairs
    context = {"node": node, "copies": leftovers.on_node(node) if may else [], "may_remove": may}
    return render(request, "containers/_left_copies.html", context)


@require_POST
@signed_in
def left_copy_remove(request: HttpRequest, node_id: UUID, copy_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    found = leftovers.get(node, copy_id)  # first: what is not there is 404, whatever was ticked
    if request.POST.get("sure") != "1":
        raise Invalid(_("Say that its files on this node may be lost: tick the box."))
    copy = leftovers.remove(found, actor=user.as_actor())
    toast = Toast(_("The old copy of %(name)s is being removed") % {"name": copy.container_name})
    return answer(request, toast, to=reverse("nodes:detail", args=[node.pk]))
