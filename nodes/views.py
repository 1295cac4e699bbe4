"""Pages of nodes: the list, one of them, and joining a new one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import has, require
from audit.models import Entry
from lormas.common.crypto import decrypt, encrypt
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, is_htmx, page_of, person, signed_in
from nodes import drains, events, health, selectors, services, upgrades
from nodes.access import get_node, rights, sees_nodes, visible_clusters, visible_nodes
from nodes.forms import NodeForm, initial_of
from nodes.joining import join_command
from nodes.models import Node, Orphan
from nodes.states import NODE_MOVES, NodeStatus

ORDERS = ("name", "status", "current_pods", "last_heartbeat")
TOKEN_KEY = "node_token_once"  # noqa: S105 - the key under which the session holds it for one page


def _share(part: float, whole: float) -> int:
    return max(0, min(100, round(100 * part / whole))) if whole else 0


def load_of(node: Node) -> dict[str, int]:
    """Whole percents for the bars: what is promised, and what is used."""
    usage: dict[str, Any] = node.usage or {}
    online = node.is_online
    return {
        "cpu_alloc": _share(node.allocated_cpus, node.cpu_cores),
        "cpu_used": max(0, min(100, round(float(usage.get("cpu_percent", 0))))) if online else 0,
        "memory_alloc": _share(node.allocated_memory_bytes, node.total_memory_bytes),
        "memory_used": _share(usage.get("memory_used_bytes", 0), node.total_memory_bytes) if online else 0,
        "disk_alloc": _share(node.allocated_storage_bytes, node.total_storage_bytes),
        "disk_used": _share(usage.get("storage_used_bytes", 0), node.total_storage_bytes) if online else 0,
        "pods": _share(node.current_pods, node.max_pods),
    }


def node_rows(nodes: Any) -> list[dict[str, Any]]:
    return [{"node": node, "load": load_of(node)} for node in nodes]


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    user = person(request)
    if not sees_nodes(user):
        require(user, "nodes.view")
    found = visible_nodes(user)
    filters = {name: request.GET.get(name, "").strip() for name in ("search", "status", "order")}
    if filters["search"]:
        found = found.filter(name__icontains=filters["search"])
    if filters["status"] in NodeStatus.values:
        found = found.filter(status=filters["status"])
    order = filters["order"] if filters["order"].lstrip("-") in ORDERS else "name"
    page = page_of(request, found.order_by(order, "id"), size=50)
    context = {
        "page": page,
        "rows": node_rows(page.object_list),
        "filters": {**filters, "order": order},
        "filtered": bool(filters["search"] or filters["status"]),
        "statuses": NodeStatus.choices,
        "totals": selectors.stats(visible_nodes(user)),
        "may_create": has(user, "nodes.create"),
    }
    return render(request, "nodes/_table.html" if request.headers.get("X-Live") else "nodes/list.html", context)


@require_GET
@signed_in
def rows(request: HttpRequest) -> HttpResponse:
    """Fresh rows of the ids named (`?id=…&id=…`)."""
    ids = []
    for text in request.GET.getlist("id")[:200]:
        try:
            ids.append(UUID(text))
        except ValueError:
            continue
    return render(request, "nodes/_rows.html", {"rows": node_rows(visible_nodes(person(request)).filter(pk__in=ids))})


def frame_of(user: Any, node: Node) -> dict[str, Any]:
    """What the head and the tabs of all pages of a node need."""
    held = rights(user, node)
    return {
        "node": node,
        "may": {name: f"nodes.{name}" in held for name in ("edit", "token", "delete", "grant", "drain")},
        "may_grant": "nodes.grant" in held,
        "moves": sorted(NODE_MOVES.get(node.status, frozenset()) & {NodeStatus.MAINTENANCE, NodeStatus.ACTIVE})
        if node.status != NodeStatus.PENDING
        else [],
    }


@require_GET
@signed_in
def detail(request: HttpRequest, node_id: UUID) -> HttpResponse:
    node = get_node(person(request), node_id)
    package = upgrades.package()
    context = {
        **frame_of(person(request), node),
        "load": load_of(node),
        "tab": "overview",
        "signals": [(name, health.known(node.signals, name)) for name in health.SIGNALS if name in node.signals],
        "uptime": events.uptime(node) if node.status != NodeStatus.PENDING else None,
        "draining": drains.running_drain(node),
        "upgrade_to": package.version if package and "upgrade" in node.capabilities else "",
        "strangers": Orphan.objects.filter(node=node, keep=False).count(),
    }
    if request.headers.get("X-Live"):
        return render(request, "nodes/_detail.html", context)
    once = request.session.pop(TOKEN_KEY, None)
    if once and once.get("node") == str(node.pk):
        context["token"] = True
        context["command"] = join_command(decrypt(once["token"], keys=settings.FIELD_KEYS))
    context["entries"] = Entry.objects.filter(target_type="node", target_id=str(node.pk))[:12]
    return render(request, "nodes/detail.html", context)


def _show_token(request: HttpRequest, node: Node, token: str) -> HttpResponse:
    """To the node's page, which shows it this once; it never travels in an address, and waits encrypted in the session."""
    request.session[TOKEN_KEY] = {"node": str(node.pk), "token": encrypt(token, keys=settings.FIELD_KEYS)}
    return HttpResponseRedirect(reverse("nodes:detail", args=[node.pk]))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require(user, "nodes.create")
    form = NodeForm(request.POST or None, clusters=visible_clusters(user))
    if request.method == "POST" and form.is_valid():
        try:
            node, token = services.register_node(actor=user.as_actor(), **form.given())
        except Problem as problem:
            form.take(problem)
        else:
            return _show_token(request, node, token)
    return render(request, "nodes/new.html", {"form": form}, status=400 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    form = NodeForm(request.POST or None, initial=initial_of(node), clusters=visible_clusters(user))
    if request.method == "POST" and form.is_valid():
        try:
            services.update_node(node, actor=user.as_actor(), **form.given())
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("Settings saved")), to=reverse("nodes:detail", args=[node.pk]))
    return render(request, "nodes/edit.html", {"node": node, "form": form}, status=400 if form.is_bound else 200)


@require_POST
@signed_in
def schedulable(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    node = services.set_schedulable(node, actor=user.as_actor(), is_schedulable=request.POST.get("to") == "1")
    word = _("%(name)s takes new containers") if node.is_schedulable else _("%(name)s takes no new containers")
    return answer(request, Toast(word % {"name": node.name}), to=reverse("nodes:detail", args=[node.pk]))


@require_POST
@signed_in
def status(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    node = services.set_status(node, actor=user.as_actor(), status=request.POST.get("to", ""))
    toast = Toast(_("%(name)s: %(status)s") % {"name": node.name, "status": node.get_status_display()})
    return answer(request, toast, to=reverse("nodes:detail", args=[node.pk]))


@require_POST
@signed_in
def token(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """A new token; the old one ends at once, unless the agent is connected and gets the new one in-band."""
    user = person(request)
    node = get_node(user, node_id, "nodes.token")
    return _show_token(request, node, services.rotate_token(node, actor=user.as_actor()))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def delete(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.delete")
    wrong = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() == node.name:
            services.delete_node(node, actor=user.as_actor())
            if is_htmx(request):
                return HttpResponse(status=204, headers={"HX-Redirect": reverse("nodes:list")})
            return answer(request, Toast(_("%(name)s is removed") % {"name": node.name}), to=reverse("nodes:list"))
        wrong = _("This is not its name.")
    return render(request, "nodes/delete.html", {"node": node, "wrong": wrong}, status=400 if wrong else 200)
