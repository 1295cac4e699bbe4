"""Pages of one node beside its overview: timeline, labels and taints, the drain wizard, maintenance, the agent's upgrade, orphans."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from lormas.common.errors import NotFound, Problem
from lormas.common.pages import Toast, answer, page_of, person, signed_in
from nodes import drains, events, orphans, services, upgrades, windows
from nodes.access import get_cluster, get_node
from nodes.fleet_forms import EFFECTS, DrainForm, WindowForm, label_rows, taint_rows
from nodes.models import Drain, MaintenanceWindow, Node, NodeEvent, Orphan
from nodes.views import frame_of

SPANS = {"24h": 24, "7d": 24 * 7, "30d": 24 * 30}
BLANK_ROWS = 2


def _address(node: Node) -> str:
    return reverse("nodes:detail", args=[node.pk])


@require_GET
@signed_in
def timeline(request: HttpRequest, node_id: UUID) -> HttpResponse:
    node = get_node(person(request), node_id)
    span = request.GET.get("range", "24h")
    if span not in SPANS:
        span = "24h"
    kind = request.GET.get("kind", "")
    found = NodeEvent.objects.filter(node=node)
    many = orphans.many_on(node)
    context = {
        **frame_of(person(request), node),
        "tab": "timeline",
        "range": span,
        "ranges": list(SPANS),
        "uptime": events.uptime(node, hours=SPANS[span]),
        "kind": kind,
        "kinds": list(NodeEvent.objects.filter(node=node).order_by("kind").values_list("kind", flat=True).distinct()),
        "page": page_of(request, found.filter(kind=kind) if kind else found, size=50),
        "windows": MaintenanceWindow.objects.filter(node=node, state__in=("planned", "active")),
        "cluster_windows": MaintenanceWindow.objects.filter(cluster_id=node.cluster_id, state__in=("planned", "active")) if node.cluster_id else [],
        "window_form": WindowForm(),
        "orphans": [{"orphan": o, "why": orphans.why_kept(o, many=many)} for o in Orphan.objects.select_related("node").filter(node=node)[:100]],
    }
    return render(request, "nodes/timeline.html", context)


@require_POST
@signed_in
def maintenance(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    form = WindowForm(request.POST)
    back = reverse("nodes:timeline", args=[node.pk])
    if form.is_valid():
        try:
            windows.plan(actor=user.as_actor(), user=user, node=node, **form.cleaned_data)
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("The window is planned")), to=back)
    return render(request, "nodes/window.html", {"title": node.name, "back": back, "form": form}, status=400)


@require_POST
@signed_in
def window_cancel(request: HttpRequest, window_id: UUID) -> HttpResponse:
    user = person(request)
    window = MaintenanceWindow.objects.select_related("node", "cluster").filter(pk=window_id).first()
    if window is None:
        raise NotFound(_("There is no such window, or you may not see it."))
    if window.node_id is not None:
        get_node(user, window.node_id, "nodes.edit")
        back = reverse("nodes:timeline", args=[window.node_id])
    else:
        get_cluster(user, cast(UUID, window.cluster_id), "clusters.manage")
        back = reverse("nodes:cluster", args=[window.cluster_id])
    windows.cancel(window, actor=user.as_actor())
    return answer(request, Toast(_("The window is called off")), to=back)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def labels(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """The editor of labels and taints; before a NoExecute taint is saved it shows who would have to leave."""
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    wrong: list[str] = []
    shown_labels, shown_taints = dict(node.labels), list(node.taints)
    leaving: list[Any] = []
    if request.method == "POST" and not {"label_key", "taint_key"} <= set(request.POST):
        wrong = [_("The form came without its rows, so nothing was changed.")]
    elif request.method == "POST":
        try:
            shown_taints = taint_rows(request.POST)
            shown_labels = label_rows(request.POST)
            services.check_fields({"labels": shown_labels, "taints": shown_taints})
            before = {services.taint_key(t) for t in node.taints}
            fresh = [t for t in shown_taints if t["effect"] == "NoExecute" and services.taint_key(t) not in before]
            leaving = _leaving(node, fresh) if fresh and not request.POST.get("sure") else []
            if not leaving:
                services.update_node(node, actor=user.as_actor(), labels=shown_labels, taints=shown_taints)
                return answer(request, Toast(_("Labels and taints saved")), to=_address(node))
        except ValueError as error:
            wrong = [str(error)]
        except Problem as problem:
            wrong = [f"{error.field}: {error.message}" for error in problem.errors] or [problem.detail]
    blank = {"key": "", "value": "", "effect": "NoSchedule"}
    context = {
        **frame_of(user, node),
        "labels": [*shown_labels.items(), *[("", "")] * BLANK_ROWS],
        "taints": [*shown_taints, *[blank] * BLANK_ROWS],
        "since": node.taint_times,
        "effects": EFFECTS,
        "wrong": wrong,
        "leaving": leaving,
    }
    return render(request, "nodes/labels.html", context, status=400 if wrong else 200)


def _leaving(node: Node, fresh: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Containers that would have to go because of these taints, and after how long."""
    from nodes.placement import Taint, leaves_at

    taints = [(Taint(key=t["key"], value=t["value"], effect="NoExecute"), 0.0) for t in fresh]
    found = []
    for holding in drains.plan(node):
        leave = leaves_at(taints, holding.tolerations)
        if leave is not None:
            found.append({"holding": holding, "seconds": int(leave)})
    return found


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def drain(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """The wizard: what goes where and what is lost, then how far it is."""
    user = person(request)
    node = get_node(user, node_id, "nodes.drain")
    form = DrainForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            drains.drain(node, user=user, actor=user.as_actor(), **form.given())
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, None, to=reverse("nodes:drain", args=[node.pk]))
    running = drains.running_drain(node)
    last = running or Drain.objects.select_related("operation").filter(node=node).first()
    plan = [] if running else drains.plan(node)
    context = {
        **frame_of(user, node),
        "form": form,
        "running": running,
        "last": last,
        "plan": plan,
        "moves": sum(h.act == "move" for h in plan),
        "stops": sum(h.act == "stop" for h in plan),
    }
    template = "nodes/_drain_progress.html" if request.headers.get("X-Live") else "nodes/drain.html"
    return render(request, template, context, status=400 if form.is_bound else 200)


@require_POST
@signed_in
def undrain(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.drain")
    keep = bool(request.POST.get("keep"))
    drains.undrain(node, user=user, actor=user.as_actor(), keep_ineligible=keep)
    word = _("The drain is ended; %(name)s stays closed to new containers") if keep else _("%(name)s takes containers again")
    return answer(request, Toast(word % {"name": node.name}), to=_address(node))


@require_POST
@signed_in
def upgrade(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    operation = upgrades.upgrade(node, user=user, actor=user.as_actor())
    toast = Toast(
        _("Upgrading the agent of %(name)s") % {"name": node.name},
        _("Containers go on. A version that does not come up is taken back."),
        link=reverse("operations:detail", args=[operation.pk]),
        link_text=_("Show"),
    )
    return answer(request, toast, to=_address(node))


@require_POST
@signed_in
def orphan(request: HttpRequest, node_id: UUID, orphan_id: UUID) -> HttpResponse:
    """`to`: keep, unkeep or remove."""
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    found = Orphan.objects.select_related("node").filter(pk=orphan_id, node=node).first()
    if found is None:
        raise NotFound(_("There is no such container any more."))
    wish = request.POST.get("to", "")
    if wish == "remove":
        orphans.remove(found, actor=user.as_actor())
        word = _("The node is asked to remove it; its data stays")
    else:
        orphans.set_keep(found, actor=user.as_actor(), keep=wish == "keep")
        word = _("It is kept") if wish == "keep" else _("It is no longer kept")
    return answer(request, Toast(word), to=reverse("nodes:timeline", args=[node.pk]))
