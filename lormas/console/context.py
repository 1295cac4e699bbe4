"""The frame of every page: navigation by what exists and what the person may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy as _

from accounts.access import has
from nodes.models import Operation
from nodes.operations import visible_operations
from nodes.states import OPERATION_OPEN

RUNNING = 20


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the sidebar; `capability` "" = everybody."""

    title: Any
    icon: str
    route: str
    capability: str = ""
    group: Any = ""


PLACES: tuple[Place, ...] = (
    Place(_("Dashboard"), "layout-dashboard", "console:dashboard"),
    Place(_("Containers"), "container", "containers:list", "containers.view", _("Workloads")),
    Place(_("Eggs"), "egg", "eggs:list", "eggs.view", _("Workloads")),
    Place(_("Nodes"), "server", "nodes:list", "nodes.view", _("Fleet")),
    Place(_("Clusters"), "boxes", "nodes:clusters", "nodes.view", _("Fleet")),
    Place(_("Registries"), "package", "nodes:registries", "clusters.manage", _("Fleet")),
    Place(_("Operations"), "activity", "operations:list", "", _("Fleet")),
    Place(_("Available"), "calendar-days", "reservations:available", "machines.view", _("Pool")),
    Place(_("Reservations"), "calendar-clock", "reservations:list", "machines.view", _("Pool")),
    Place(_("Machines"), "computer", "reservations:machines", "machines.view", _("Pool")),
    Place(_("Users"), "users", "people:users", "users.view", _("Admin")),
    Place(_("Roles"), "shield", "people:roles", "roles.manage", _("Admin")),
    Place(_("Backup targets"), "archive", "containers:destinations", "settings.manage", _("Admin")),
    Place(_("Recordings"), "circle-dot", "containers:recording-policies", "settings.manage", _("Admin")),
    Place(_("Jobs"), "calendar-clock", "nodes:jobs", "system.view", _("Admin")),
    Place(_("Audit"), "scroll-text", "audit:list", "audit.view", _("Admin")),
)


def _address(route: str) -> str | None:
    try:
        return reverse(route)
    except NoReverseMatch:
        return None


def places(user: Any) -> list[tuple[Place, str]]:
    """What this person can go to: only rooms that have pages, only what they may see."""
    found = ((place, _address(place.route)) for place in PLACES if not place.capability or has(user, place.capability))
    return [(place, address) for place, address in found if address]


def frame(request: HttpRequest) -> dict[str, Any]:
    """`nav`: groups of entries; `running_operations`: what of mine is not done. Both lazily."""
    user = getattr(request, "user", None)

    def nav() -> list[dict[str, Any]]:
        groups: dict[str, list[dict[str, Any]]] = {}
        if user is None or not user.is_authenticated:
            return []
        for place, address in places(user):
            here = request.path == address or (address != "/" and request.path.startswith(address.rstrip("/") + "/"))
            groups.setdefault(str(place.group), []).append({"title": place.title, "icon": place.icon, "url": address, "here": here})
        return [{"title": title, "entries": entries} for title, entries in groups.items()]

    def running() -> list[Operation]:
        if user is None or not user.is_authenticated:
            return []
        return list(visible_operations(user).filter(status__in=OPERATION_OPEN)[:RUNNING])

    return {"nav": nav, "running_operations": SimpleLazyObject(running)}
