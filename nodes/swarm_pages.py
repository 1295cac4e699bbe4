"""Pages of the swarm behind a cluster: its part of the cluster's page, one service, a new one, removing one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import grants
from agent.protocol.swarm import AVAILABILITIES
from lormas.common.errors import Invalid, NotFound, Problem
from lormas.common.pages import Toast, answer, is_htmx, person, signed_in
from nodes import swarm
from nodes.access import cluster_kind, get_cluster
from nodes.models import Cluster, Operation
from nodes.swarm_forms import SwarmChangeForm, SwarmServiceForm

IDLE = ("complete", "shutdown", "remove", "orphaned")


def _rights(user: Any, cluster: Cluster) -> dict[str, bool]:
    held = grants.rights(cluster_kind(), user, cluster)
    return {"may_manage": "clusters.manage" in held, "may_drain": "nodes.drain" in held}


def part(user: Any, cluster: Cluster) -> dict[str, Any]:
    """What `clusters/_swarm.html` shows. A swarm that nobody can tell of is said in place."""
    context: dict[str, Any] = {"cluster": cluster, **_rights(user, cluster), "seen": None, "trouble": ""}
    try:
        seen = swarm.look(cluster)
    except Problem as problem:
        return {**context, "trouble": problem.detail}
    rows = [{**item, "share": _share(item["running"], item["wanted"]), "tone": tone(item)} for item in seen.services]
    return {**context, "seen": seen, "services": rows, "nodes": seen.nodes}


def _share(part: int, whole: int) -> int:
    return max(0, min(100, round(100 * part / whole))) if whole else 0


def tone(service: dict[str, Any]) -> str:
    """Colour of its state."""
    if service["update_state"] in ("paused", "rollback_paused"):
        return "red"
    if service["running"] == service["wanted"]:
        return "green" if service["wanted"] else "hollow"
    return "blue busy" if service["running"] or service["update_state"] == "updating" else "amber"


def _back(cluster: Cluster) -> str:
    return reverse("nodes:cluster", args=[cluster.pk])


def _toast(title: str, operation: Operation) -> Toast:
    return Toast(title, link=reverse("operations:detail", args=[operation.pk]), link_text=_("Show"))


@require_GET
@signed_in
def swarm_part(request: HttpRequest, cluster_id: UUID) -> HttpResponse:
    """The part alone, which the page asks for again and again."""
    user = person(request)
    cluster = get_cluster(user, cluster_id)
    if not is_htmx(request) or cluster.backend != "swarm":
        return HttpResponseRedirect(_back(cluster))
    return render(request, "clusters/_swarm.html", part(user, cluster))


@require_POST
@signed_in
def availability(request: HttpRequest, cluster_id: UUID, swarm_node_id: str) -> HttpResponse:
    user = person(request)
    cluster = get_cluster(user, cluster_id, "nodes.drain")
    wanted = request.POST.get("availability", "")
    if wanted not in AVAILABILITIES:
        raise Invalid(_("Only active, pause and drain are known."))
    operation = swarm.set_availability(cluster, swarm_node_id, wanted, user=user, actor=user.as_actor())
    title = {"active": _("It takes tasks again"), "pause": _("It takes no new tasks"), "drain": _("Its tasks go to other nodes")}[wanted]
    return answer(request, _toast(title, operation), to=_back(cluster))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def service_new(request: HttpRequest, cluster_id: UUID) -> HttpResponse:
    user = person(request)
    cluster = get_cluster(user, cluster_id, "clusters.manage")
    form = SwarmServiceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            operation = swarm.create_service(cluster, user=user, actor=user.as_actor(), **form.given)
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, _toast(_("Making %(name)s") % {"name": form.given["name"]}, operation), to=_back(cluster))
    return render(request, "clusters/service_new.html", {"cluster": cluster, "form": form}, status=400 if form.is_bound else 200)


@require_GET
@signed_in
def service(request: HttpRequest, cluster_id: UUID, service_id: str) -> HttpResponse:
    """One service and its tasks; as a fragment the part that lives."""
    user = person(request)
    cluster = get_cluster(user, cluster_id)
    context: dict[str, Any] = {"cluster": cluster, **_rights(user, cluster), "service_id": service_id}
    try:
        found = swarm.look(cluster).service(service_id)
        tasks = swarm.tasks(cluster, service_id)
    except NotFound:
        if is_htmx(request):
            return HttpResponse(status=404)
        raise
    except Problem as problem:
        template = "clusters/_service.html" if is_htmx(request) else "clusters/service.html"
        return render(request, template, {**context, "trouble": problem.detail})
    context |= {
        "service": found,
        "share": _share(found["running"], found["wanted"]),
        "tone": tone(found),
        "tasks": [task for task in tasks if task["desired"] not in IDLE],
        "past": [task for task in tasks if task["desired"] in IDLE][:25],
        "form": SwarmChangeForm(service=found),
    }
    return render(request, "clusters/_service.html" if is_htmx(request) else "clusters/service.html", context)


@require_POST
@signed_in
def service_change(request: HttpRequest, cluster_id: UUID, service_id: str) -> HttpResponse:
    user = person(request)
    cluster = get_cluster(user, cluster_id, "clusters.manage")
    back = reverse("nodes:cluster-service", args=[cluster.pk, service_id])
    form = SwarmChangeForm(request.POST, service=swarm.look(cluster).own_service(service_id))
    if not form.is_valid():
        return answer(request, Toast(_("Not changed"), " ".join(str(line) for lines in form.errors.values() for line in lines), tone="red"), to=back)
    operation = swarm.update_service(cluster, service_id, user=user, actor=user.as_actor(), **form.given)
    return answer(request, _toast(_("The swarm is changing it"), operation), to=back)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def service_remove(request: HttpRequest, cluster_id: UUID, service_id: str) -> HttpResponse:
    user = person(request)
    cluster = get_cluster(user, cluster_id, "clusters.manage")
    found = swarm.look(cluster).own_service(service_id)
    wrong = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() == found["name"]:
            operation = swarm.remove_service(cluster, service_id, user=user, actor=user.as_actor())
            return answer(request, _toast(_("Removing %(name)s") % {"name": found["name"]}, operation), to=_back(cluster))
        wrong = _("This is not its name.")
    context = {"cluster": cluster, "service": found, "wrong": wrong}
    return render(request, "clusters/service_remove.html", context, status=400 if wrong else 200)
