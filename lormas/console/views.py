"""The dashboard, and the search behind Ctrl-K."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from accounts.access import has
from audit.models import Entry
from containers.access import visible_containers
from containers.selectors import counts_by_status
from containers.states import PASSING, Status
from containers.views import dressed
from eggs.models import Egg
from lormas.common import clock
from lormas.common.pages import person, signed_in
from lormas.console.context import places
from nodes import operations, selectors
from nodes.access import visible_nodes
from nodes.states import OPERATION_OPEN, NodeStatus, OperationStatus
from nodes.views import node_rows

MINE = 12
FOUND = 6
STUCK_SECONDS = 120


@require_GET
@signed_in
def dashboard(request: HttpRequest) -> HttpResponse:
    return render(request, "console/dashboard.html", _dashboard(request))


@require_GET
@signed_in
def overview(request: HttpRequest) -> HttpResponse:
    """Fragment: the numbers at the top."""
    return render(request, "console/_numbers.html", _numbers(person(request)))


@require_GET
@signed_in
def fleet(request: HttpRequest) -> HttpResponse:
    """Fragment: the operators' side."""
    return render(request, "console/_fleet.html", _fleet(person(request)))


@require_GET
@signed_in
def mine(request: HttpRequest) -> HttpResponse:
    """Fragment: my containers."""
    return render(request, "console/_mine.html", _mine(person(request)))


def _mine(user: Any) -> dict[str, Any]:
    own = visible_containers(user).filter(owner=user)
    # What needs a look first: failed before passing before running before stopped.
    order = {Status.CRASHED: 0, Status.CRASH_LOOP: 0, Status.FAILED: 0, Status.MISSING: 0, Status.UNKNOWN: 1, Status.STOPPED: 4}
    found = list(own.for_list()[:200])
    found.sort(key=lambda c: order.get(Status(c.status), 2 if c.status in PASSING else 3))
    return {"rows": dressed(found[:MINE], user), "mine": own.count(), "may_create": has(user, "containers.create"), "nodes": visible_nodes(user)[:1]}


def _numbers(user: Any) -> dict[str, Any]:
    counts = counts_by_status(visible_containers(user))
    bad = sum(counts.get(status, 0) for status in (Status.CRASHED, Status.CRASH_LOOP, Status.FAILED, Status.MISSING))
    return {
        "containers": sum(counts.values()),
        "running": counts.get(Status.RUNNING, 0),
        "bad": bad,
        "unknown": counts.get(Status.UNKNOWN, 0),
        "sees_all": has(user, "containers.any"),
        "fleet": selectors.stats(visible_nodes(user)) if has(user, "nodes.view") else None,
    }


def _fleet(user: Any) -> dict[str, Any]:
    if not has(user, "nodes.view"):
        return {"sees_fleet": False}
    now = clock.now()
    known = operations.visible_operations(user)
    stuck = Q(status__in=OPERATION_OPEN, created_at__lt=now - timedelta(seconds=STUCK_SECONDS))
    failing = Q(status__in=(OperationStatus.FAILED, OperationStatus.TIMED_OUT), finished_at__gte=now - timedelta(hours=24))
    worst_first = {NodeStatus.INACTIVE: 0, NodeStatus.NOT_READY: 1, NodeStatus.PENDING: 2, NodeStatus.MAINTENANCE: 3, NodeStatus.ACTIVE: 4}
    found = sorted(visible_nodes(user)[:100], key=lambda node: (worst_first[NodeStatus(node.status)], node.name))
    return {
        "sees_fleet": True,
        "node_rows": node_rows(found[:6]),
        "node_count": len(found),
        "trouble": known.filter(stuck | failing)[:6],
        "entries": Entry.objects.all()[:8] if has(user, "audit.view") else None,
    }


def _step(title: str, text: str, *, done: bool, route: str, button: str, waiting: bool = False) -> dict[str, Any] | None:
    """None where its page does not exist (yet)."""
    try:
        return {"title": title, "help": text, "done": done, "url": reverse(route), "button": button, "waiting": waiting}
    except NoReverseMatch:
        return None


def _steps(user: Any) -> list[dict[str, Any]]:
    """The first-run checklist: what is done is told by the database."""
    steps: list[dict[str, Any] | None] = []
    if has(user, "nodes.create"):
        pending = Q(status=NodeStatus.PENDING)
        counts = visible_nodes(user).aggregate(joined=Count("pk", filter=~pending), waiting=Count("pk", filter=pending))
        joined = counts["joined"] > 0
        if counts["waiting"] and not joined:
            steps.append(_step(_("A node has joined"), _("Waiting for the agent…"), done=False, route="nodes:list", button=_("Nodes"), waiting=True))
        else:
            steps.append(
                _step(_("A node has joined"), _("The machine that runs your containers."), done=joined, route="nodes:new", button=_("Add node"))
            )
    if has(user, "eggs.manage"):
        there = Egg.objects.exists()
        steps.append(
            _step(_("An egg is there"), _("Eggs know how to start one kind of server."), done=there, route="eggs:import", button=_("Import"))
        )
    if has(user, "containers.create"):
        text = _("Pick an egg or name an image; the rest has sensible defaults.")
        done = visible_containers(user).exists()
        steps.append(_step(_("A container runs"), text, done=done, route="containers:new", button=_("New container")))
    return [step for step in steps if step]


def _open_steps(user: Any) -> list[dict[str, Any]]:
    """The checklist while something on it is to do."""
    steps = _steps(user)
    return [] if all(step["done"] for step in steps) else steps


@require_GET
@signed_in
def first_steps(request: HttpRequest) -> HttpResponse:
    """Fragment: the checklist."""
    return render(request, "console/_steps.html", {"steps": _open_steps(person(request))})


def _dashboard(request: HttpRequest) -> dict[str, Any]:
    user = person(request)
    return {
        **_numbers(user),
        **_mine(user),
        **_fleet(user),
        "steps": _open_steps(user),
    }


@require_GET
@signed_in
def search(request: HttpRequest) -> HttpResponse:
    """Fragment: what the words lead to; everything by its own door."""
    user = person(request)
    text = request.GET.get("q", "").strip()[:100]
    found: list[dict[str, Any]] = []
    if text:
        containers = visible_containers(user).matching(text).order_by("name")[:FOUND]
        nodes = visible_nodes(user).filter(Q(name__icontains=text) | Q(hostname__icontains=text)).order_by("name")[:FOUND]
        for group, rows, icon, route in (
            (_("Containers"), containers, "container", "containers:detail"),
            (_("Nodes"), nodes, "server", "nodes:detail"),
        ):
            found += [_hit(group, row.name, icon, reverse(route, args=[row.pk]), kind=str(row.get_status_display())) for row in rows]
    known = [_hit(_("Go to"), str(place.title), place.icon, url) for place, url in places(user)]
    if has(user, "containers.create"):
        known.append(_hit(_("Do"), _("New container"), "plus", reverse("containers:new")))
    if has(user, "nodes.create"):
        known.append(_hit(_("Do"), _("Add node"), "plus", reverse("nodes:new")))
    found += [hit for hit in known if text.lower() in hit["title"].lower()]
    return render(request, "console/_search.html", {"found": found, "text": text})


def _hit(group: str, title: str, icon: str, url: str, *, kind: str = "") -> dict[str, str]:
    return {"group": group, "title": title, "icon": icon, "url": url, "kind": kind}
