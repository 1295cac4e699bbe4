"""Pages of the whole fleet: onboarding keys, registries, periodic jobs, and where something would go."""

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
from lormas.common import clock
from lormas.common.crypto import decrypt, encrypt
from lormas.common.errors import NotFound, Problem
from lormas.common.pages import Toast, answer, page_of, person, signed_in
from nodes import jobs, onboarding, placement, registries, selectors
from nodes.access import sees_nodes, visible_clusters, visible_nodes
from nodes.fleet_forms import DemandForm, KeyForm, RegistryForm
from nodes.joining import key_command
from nodes.models import JobRun, OnboardingKey, Registry

KEY_ONCE = "onboarding_key_once"
UPTIME_UNKNOWN = 0.0
"""A page does not know how long the panel has been up: a beat that never ran shows in /health."""


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def keys(request: HttpRequest) -> HttpResponse:
    """The list, a new one, and its command this once."""
    user = person(request)
    require(user, "nodes.create")
    form = KeyForm(request.POST or None, clusters=visible_clusters(user))
    if request.method == "POST" and form.is_valid():
        try:
            made, text = onboarding.create_key(actor=user.as_actor(), user=user, **form.given())
        except Problem as problem:
            form.take(problem)
        else:
            request.session[KEY_ONCE] = {"id": str(made.pk), "name": made.name, "key": encrypt(text, keys=settings.FIELD_KEYS)}
            return HttpResponseRedirect(reverse("nodes:keys"))
    once = request.session.pop(KEY_ONCE, None)
    context = {
        "form": form,
        "rows": OnboardingKey.objects.select_related("cluster")[:200],
        "now": clock.now(),
        "made": once["name"] if once else "",
        "command": key_command(decrypt(once["key"], keys=settings.FIELD_KEYS)) if once else "",
    }
    return render(request, "nodes/keys.html", context, status=400 if form.is_bound else 200)


@require_POST
@signed_in
def key_revoke(request: HttpRequest, key_id: UUID) -> HttpResponse:
    user = person(request)
    require(user, "nodes.create")
    found = OnboardingKey.objects.filter(pk=key_id).first()
    if found is None:
        raise NotFound(_("There is no such key."))
    onboarding.revoke_key(found, actor=user.as_actor())
    return answer(request, Toast(_("No machine joins with %(name)s any more") % {"name": found.name}), to=reverse("nodes:keys"))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def registry_list(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require(user, "clusters.manage")
    form = RegistryForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = registries.create_registry(actor=user.as_actor(), **form.cleaned_data)
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("%(name)s is stored") % {"name": made.name}), to=reverse("nodes:registries"))
    return render(request, "nodes/registries.html", {"form": form, "rows": Registry.objects.all()[:500]}, status=400 if form.is_bound else 200)


def _registry(user: Any, registry_id: UUID) -> Registry:
    require(user, "clusters.manage")
    found = Registry.objects.filter(pk=registry_id).first()
    if found is None:
        raise NotFound(_("There is no such registry."))
    return found


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def registry(request: HttpRequest, registry_id: UUID) -> HttpResponse:
    user = person(request)
    found = _registry(user, registry_id)
    initial = {name: getattr(found, name) for name in ("name", "server", "username", "is_shared")}
    form = RegistryForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        changes = dict(form.cleaned_data)
        if not changes["password"]:
            del changes["password"]
        try:
            registries.update_registry(found, actor=user.as_actor(), **changes)
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("Settings saved")), to=reverse("nodes:registries"))
    context = {"form": form, "registry": found, "has_password": bool(found.password)}
    return render(request, "nodes/registry.html", context, status=400 if form.is_bound else 200)


@require_POST
@signed_in
def registry_delete(request: HttpRequest, registry_id: UUID) -> HttpResponse:
    user = person(request)
    found = _registry(user, registry_id)
    registries.delete_registry(found, actor=user.as_actor())
    return answer(request, Toast(_("%(name)s is forgotten") % {"name": found.name}), to=reverse("nodes:registries"))


@require_GET
@signed_in
def job_list(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require(user, "system.view")
    rows = [jobs.standing(job) for job in jobs.table().values()]
    context = {"rows": rows, "beat": jobs.beat_problem(UPTIME_UNKNOWN), "may_run": has(user, "settings.manage")}
    return render(request, "jobs/list.html", context)


@require_GET
@signed_in
def job(request: HttpRequest, name: str) -> HttpResponse:
    user = person(request)
    require(user, "system.view")
    found = jobs.get(name)
    page = page_of(request, JobRun.objects.filter(job=found.name), size=50)
    return render(request, "jobs/detail.html", {"row": jobs.standing(found), "page": page, "may_run": has(user, "settings.manage")})


@require_POST
@signed_in
def job_run(request: HttpRequest, name: str) -> HttpResponse:
    user = person(request)
    require(user, "settings.manage")
    operation = jobs.run_now(name, user=user, actor=user.as_actor())
    toast = Toast(_("A worker runs it now"), jobs.get(name).title, link=reverse("operations:detail", args=[operation.pk]), link_text=_("Show"))
    return answer(request, toast, to=reverse("nodes:jobs"))


@require_GET
@signed_in
def where(request: HttpRequest) -> HttpResponse:
    """Why here, why not there: every node with its place in the order, or the rule that refuses it."""
    user = person(request)
    if not sees_nodes(user):
        require(user, "nodes.view")
    form = DemandForm(request.GET or None, clusters=visible_clusters(user))
    context: dict[str, Any] = {"form": form}
    if not form.is_bound or form.is_valid():
        demand = form.demand() if form.is_bound else placement.Demand()
        there = selectors.taken_for(demand)
        cluster = form.cleaned_data["cluster"] if form.is_bound else None
        views = selectors.placement_views(among=visible_nodes(user), ports_taken=there.ports, running=there.labels)
        ranking = placement.rank(demand, views, strategy=cluster.strategy if cluster else "spread")
        context["candidates"] = [{"view": view, "why": ranking.why[view.id]} for view in ranking.candidates]
        context["rejected"] = ranking.rejected
        context["strategy"] = cluster.strategy if cluster else "spread"
    return render(request, "nodes/where.html", context, status=200 if "candidates" in context else 400)
