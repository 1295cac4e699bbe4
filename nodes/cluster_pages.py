"""Pages of clusters."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import grants
from accounts.access import has, require
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, person, signed_in
from nodes import clusters, selectors, swarm_pages, windows
from nodes.access import cluster_kind, get_cluster, sees_nodes, visible_clusters, visible_nodes
from nodes.fleet_forms import ClusterForm, WindowForm, cluster_initial
from nodes.models import Cluster, MaintenanceWindow
from nodes.views import node_rows


def _share(part: float, whole: float) -> int:
    return max(0, min(100, round(100 * part / whole))) if whole else 0


def capacity_of(user: Any, cluster: Cluster) -> dict[str, Any]:
    """Sums of its visible nodes, and whole percents of used, promised and all that may be promised."""
    nodes = visible_nodes(user).filter(cluster=cluster)
    totals = selectors.stats(nodes)
    whole, promised = totals["capacity"], totals["allocated"]
    room = {
        "cpus": whole["cpu_cores"] * cluster.overcommit_cpu,
        "memory_bytes": whole["memory_bytes"] * cluster.overcommit_memory,
        "storage_bytes": whole["storage_bytes"] * cluster.overcommit_storage,
    }
    up = [node for node in nodes if node.is_online]
    used_cpu = sum(float(node.usage.get("cpu_percent", 0)) * node.cpu_cores for node in up)
    return {
        **totals,
        "room": room,
        "cpu_used": _share(used_cpu, 100 * sum(node.cpu_cores for node in up)),
        "memory_used": _share(sum(node.usage.get("memory_used_bytes", 0) for node in up), sum(node.total_memory_bytes for node in up)),
        "disk_used": _share(sum(node.usage.get("storage_used_bytes", 0) for node in up), sum(node.total_storage_bytes for node in up)),
        "cpu_alloc": _share(promised["cpus"], room["cpus"]),
        "memory_alloc": _share(promised["memory_bytes"], room["memory_bytes"]),
        "disk_alloc": _share(promised["storage_bytes"], room["storage_bytes"]),
        "pods": _share(promised["pods"], whole["pods"]),
    }


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    user = person(request)
    if not sees_nodes(user):
        require(user, "nodes.view")
    rows = [{"cluster": cluster, "capacity": capacity_of(user, cluster)} for cluster in visible_clusters(user)]
    loose = visible_nodes(user).filter(cluster=None).count()
    return render(request, "clusters/list.html", {"rows": rows, "loose": loose, "may_create": has(user, "clusters.manage")})


@require_GET
@signed_in
def detail(request: HttpRequest, cluster_id: UUID) -> HttpResponse:
    user = person(request)
    cluster = get_cluster(user, cluster_id)
    held = grants.rights(cluster_kind(), user, cluster)
    context = {
        "cluster": cluster,
        "capacity": capacity_of(user, cluster),
        "rows": node_rows(visible_nodes(user).filter(cluster=cluster)),
        "windows": MaintenanceWindow.objects.filter(cluster=cluster, state__in=("planned", "active")),
        "window_form": WindowForm(),
        "may_manage": "clusters.manage" in held,
        "may_grant": "nodes.grant" in held,
        "keys": cluster.onboarding_keys.count(),
    }
    if cluster.backend == "swarm":
        context |= swarm_pages.part(user, cluster)
    return render(request, "clusters/detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require(user, "clusters.manage")
    form = ClusterForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = clusters.create_cluster(actor=user.as_actor(), **form.cleaned_data)
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("Cluster %(name)s is made") % {"name": made.name}), to=reverse("nodes:cluster", args=[made.pk]))
    return render(request, "clusters/edit.html", {"form": form}, status=400 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: HttpRequest, cluster_id: UUID) -> HttpResponse:
    user = person(request)
    cluster = get_cluster(user, cluster_id, "clusters.manage")
    form = ClusterForm(request.POST or None, initial=cluster_initial(cluster), cluster=cluster)
    if request.method == "POST" and form.is_valid():
        try:
            clusters.update_cluster(cluster, actor=user.as_actor(), **form.cleaned_data)
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("Settings saved")), to=reverse("nodes:cluster", args=[cluster.pk]))
    return render(request, "clusters/edit.html", {"form": form, "cluster": cluster}, status=400 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def delete(request: HttpRequest, cluster_id: UUID) -> HttpResponse:
    user = person(request)
    cluster = get_cluster(user, cluster_id, "clusters.manage")
    wrong = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() == cluster.name:
            clusters.delete_cluster(cluster, actor=user.as_actor())
            return answer(request, Toast(_("%(name)s is removed") % {"name": cluster.name}), to=reverse("nodes:clusters"))
        wrong = _("This is not its name.")
    return render(request, "clusters/delete.html", {"cluster": cluster, "wrong": wrong}, status=400 if wrong else 200)


@require_POST
@signed_in
def maintenance(request: HttpRequest, cluster_id: UUID) -> HttpResponse:
    user = person(request)
    cluster = get_cluster(user, cluster_id, "clusters.manage")
    form = WindowForm(request.POST)
    if form.is_valid():
        try:
            windows.plan(actor=user.as_actor(), user=user, cluster=cluster, **form.cleaned_data)
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("The window is planned")), to=reverse("nodes:cluster", args=[cluster.pk]))
    context = {"title": cluster.name, "back": reverse("nodes:cluster", args=[cluster.pk]), "form": form}
    return render(request, "nodes/window.html", context, status=400)
