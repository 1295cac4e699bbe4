"""The page that makes a container, with a look at where it would go and at the request it is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST
from rest_framework.exceptions import ValidationError

from accounts.access import has, require
from containers import services
from containers.api.serializers import NewContainerSerializer, resolve_new
from containers.egg_controls import defaults_of, definition_of, offered_images
from containers.forms import POLICIES, as_options
from containers.models import Container, Port
from containers.newform import Filled, errors_by_field, filled_from, payload
from containers.quota_views import shown
from containers.services.quotas import standing_of
from eggs.access import get_egg, visible_eggs
from eggs.controls import Control, controls_of
from eggs.definition import EggDefinition
from eggs.rendering import needs_image
from eggs.selectors import for_list
from lormas.common.api.exceptions import flatten
from lormas.common.errors import NotFound, Problem
from lormas.common.pages import Toast, answer, person, signed_in
from nodes.access import choosable_nodes
from nodes.operation_views import started_toast
from nodes.placement import Demand, rank
from nodes.selectors import placement_views

MAX_FREE = 8
MAX_CARDS = 60
"""More are found in the library."""


def _egg(request: HttpRequest, given: str) -> Any:
    if not given:
        return None
    try:
        return get_egg(person(request), UUID(given), "eggs.view")
    except ValueError:
        raise NotFound(_("There is no such egg.")) from None


def _eggs(request: HttpRequest) -> Any:
    return for_list(visible_eggs(person(request))).order_by("-is_bundled", "name")[:MAX_CARDS]


def _limits_of(views: list[Any]) -> dict[str, Any]:
    """The most that one node has free, for the hints beside the fields."""
    ready = [view for view in views if view.status == "ACTIVE" and view.is_schedulable]
    return {
        "nodes": len(ready),
        "cpus": max((max(0.0, view.free_cpus) for view in ready), default=0.0),
        "memory_bytes": max((max(0.0, view.free_memory_bytes) for view in ready), default=0.0),
        "disk_bytes": max((max(0.0, view.free_storage_bytes) for view in ready), default=0.0),
    }


def _start(egg: Any) -> Filled:
    memory = settings.CONTAINER_MEMORY_LIMIT // 1024**2
    filled = Filled(source="egg" if egg else "image", cpus=f"{settings.CONTAINER_CPU_LIMIT:g}", memory=str(memory), memory_unit="MiB")
    if egg is not None:
        filled.name = re.sub(r"[^a-z0-9]+", "-", egg.name.lower()).strip("-")[:40] or "container"
        limits = (definition_of(egg) or EggDefinition(name="")).limits
        if limits.cpus:
            filled.cpus = f"{limits.cpus:g}"
        if limits.memory_bytes:
            filled.memory = str(max(6, limits.memory_bytes // 1024**2))
    return filled


def _body(request: HttpRequest, filled: Filled) -> dict[str, Any]:
    egg = _egg(request, request.POST.get("egg", ""))
    return payload(filled, egg_id=str(egg.pk) if egg else "", defaults=defaults_of(egg) if egg else None)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require(user, "containers.create")
    posted = request.method == "POST"
    egg = _egg(request, request.POST.get("egg", "") if posted else request.GET.get("egg", ""))
    filled = filled_from(request.POST) if posted else _start(egg)
    errors: dict[str, list[str]] = {}
    rest: list[str] = []
    problem: Problem | None = None
    if posted:
        serializer = NewContainerSerializer(data=_body(request, filled))
        try:
            serializer.is_valid(raise_exception=True)
            container, operation = services.create_container(user=user, actor=user.as_actor(), data=resolve_new(user, serializer.validated_data))
        except ValidationError as error:
            errors, rest = errors_by_field([(found.field, found.message) for found in flatten(error.detail)])
        except Problem as refused:
            problem = refused
            errors, rest = errors_by_field([(found.field, found.message) for found in refused.errors])
            if refused.code == "name_taken":
                errors.setdefault("name", []).append(refused.detail)
            elif not rest and not errors:
                rest = [refused.detail]
        else:
            return answer(request, started_toast(operation), to=reverse("containers:detail", args=[container.pk]))
    source = "image" if (request.POST if posted else request.GET).get("source") == "image" and egg is None else "egg"
    views = placement_views()
    definition, manager = definition_of(egg) if egg else None, has(user, "eggs.manage")
    controls = [replace(c, error=" ".join(errors.get(c.field, []))) for c in controls_of(definition, filled.variables, manager=manager)]
    ready = bool(egg or source == "image")
    standing = standing_of(user.pk)
    context: dict[str, Any] = {
        "egg": egg,
        "eggs": [] if egg or source == "image" else _eggs(request),
        "more_eggs": max(0, visible_eggs(user).count() - MAX_CARDS) if not egg and source == "egg" else 0,
        "source": source,
        "filled": filled,
        "controls": controls,
        "startups": list(definition.startup_commands) if definition else [],
        "waits": egg is not None and egg.current is not None and egg.current.needs_approval,
        "images": offered_images(egg) if egg else [],
        "errors": errors,
        "rest": rest,
        "problem": problem,
        "free": _limits_of(views),
        "quota": [row for row in shown(standing) if row["allowed"] is not None],
        "usual_disk": settings.CONTAINER_DISK_LIMIT,
        "disk_limited": standing["disk_bytes"]["allowed"] is not None,
        "nodes": choosable_nodes(user),
        "policies": as_options(POLICIES),
        "ready": ready,
    }
    return render(request, "containers/new.html", context, status=(problem.status if problem else 400) if posted else 200)


@require_POST
@signed_in
def deploy(request: HttpRequest) -> HttpResponse:
    """One click in the library: a container of the egg with its defaults; where it needs more, the form with what is missing."""
    user = person(request)
    require(user, "containers.create")
    egg = _egg(request, request.POST.get("egg", ""))
    if egg is None:
        raise NotFound(_("There is no such egg."))
    form = f"{reverse('containers:new')}?{urlencode({'egg': egg.pk})}"
    data = {"name": _free_name(user, egg), "egg": str(egg.pk)}
    serializer = NewContainerSerializer(data=data)
    try:
        serializer.is_valid(raise_exception=True)
        container, operation = services.create_container(user=user, actor=user.as_actor(), data=resolve_new(user, serializer.validated_data))
    except ValidationError as error:
        return answer(request, Toast(_("Fill in what is missing"), str(error.detail)[:200], tone="amber"), to=form)
    except Problem as problem:
        named = [] if problem.code == "quota" else problem.errors
        why = " ".join(f"{error.field.removeprefix('variables.')}: {error.message}" for error in named) or problem.detail
        return answer(request, Toast(_("%(name)s needs more than its defaults") % {"name": egg.name}, why[:500], tone="amber"), to=form)
    return answer(request, started_toast(operation), to=reverse("containers:detail", args=[container.pk]))


def _free_name(user: Any, egg: Any) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", egg.name.lower()).strip("-")[:40] or "container"
    taken = set(Container.objects.alive().filter(owner=user, name__startswith=base).values_list("name", flat=True))
    return next(name for n in range(1, len(taken) + 2) if (name := base if n == 1 else f"{base}-{n}") not in taken)


@require_POST
@signed_in
def placement(request: HttpRequest) -> HttpResponse:
    """Fragment: where what is typed would fit, and why not elsewhere. Names of nodes only to those who may see them."""
    user = person(request)
    require(user, "containers.create")
    filled = filled_from(request.POST)
    body = _body(request, filled)
    limits: dict[str, Any] = body.get("limits", {})
    numbers = {key: value for key, value in limits.items() if isinstance(value, int | float)}
    try:
        node_id = UUID(filled.node) if filled.node else None
    except ValueError:
        node_id = None
    ports = _host_ports(body.get("ports", []))
    egg = _egg(request, str(body.get("egg") or ""))
    definition = definition_of(egg) if egg is not None else None
    demand = Demand(
        cpus=numbers.get("cpus", settings.CONTAINER_CPU_LIMIT),
        memory_bytes=int(numbers.get("memory_bytes", settings.CONTAINER_MEMORY_LIMIT)),
        disk_bytes=int(numbers.get("disk_bytes", 0)),
        ports=ports,
        port_count=max(len(body.get("ports", [])) - len(ports), 1 if body.get("egg") else 0),
        node_id=node_id,
        needs_images=needs_image(definition) if definition is not None else True,
    )
    ranking = rank(demand, placement_views(ports_taken=_taken([port for _, port in ports])))
    named = has(user, "nodes.view")
    return render(
        request, "containers/_placement.html", {"ranking": ranking, "named": named, "total": len(ranking.candidates) + len(ranking.rejected)}
    )


def _host_ports(ports: list[Any]) -> tuple[tuple[str, int], ...]:
    found = []
    for port in ports:
        text, _slash, protocol = str(port).partition("/")
        host, colon, _inside = text.rpartition(":")
        if colon and host.isdigit():
            found.append((protocol or "tcp", int(host)))
    return tuple(found)


def _taken(ports: list[int]) -> dict[UUID, frozenset[tuple[str, int]]]:
    found: dict[UUID, set[tuple[str, int]]] = {}
    if ports:
        for node_id, protocol, port in Port.objects.filter(host_port__in=ports).values_list("node_id", "protocol", "host_port"):
            found.setdefault(node_id, set()).add((protocol, port))
    return {node_id: frozenset(taken) for node_id, taken in found.items()}


@require_POST
@signed_in
def as_request(request: HttpRequest) -> HttpResponse:
    """Fragment: the same as a call of the API; values that look secret are left out."""
    require(person(request), "containers.create")
    body = _body(request, filled_from(request.POST))
    variables: dict[str, str] = body.get("variables", {})
    hidden: dict[str, Control] = {c.name: c for c in controls_of(definition_of(_egg(request, body["egg"])), {})} if body.get("egg") else {}
    for key in variables:
        if key in hidden and hidden[key].kind == "password":
            variables[key] = "…"
    text = json.dumps(body, indent=2, ensure_ascii=False).replace("'", "'\\''")
    return render(request, "containers/_request.html", {"text": text, "address": f"{settings.PUBLIC_URL}/api/containers"})
