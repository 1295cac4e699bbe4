"""Pages over logs: one search over many containers, saved searches, logs of containers that are gone, alerts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from agent.protocol.commands import LogsQuery
from containers import logs
from containers.access import get_container
from containers.api.logbook import MOST_FILTERS, get_kept, kept_logs, readable
from containers.loglevels import LEVELS
from containers.models import LogAlert, LogFilter
from containers.services import logwatch
from containers.services.logsearch import PER_CONTAINER, Found, search_logs
from lormas.common.errors import Conflict, Invalid, NotFound, Problem
from lormas.common.pages import Toast, answer, person, signed_in

FIELDS = ("search", "level", "stream", "name")
STREAMS = ("application", "error", "startup", "events")
SHOWN = 300


def _given(source: Any) -> dict[str, str]:
    found = {name: source.get(name, "").strip()[:256] for name in FIELDS}
    found["level"] = found["level"] if found["level"] in LEVELS else ""
    found["stream"] = found["stream"] if found["stream"] in STREAMS else ""
    return found


@require_GET
@signed_in
def search(request: HttpRequest) -> HttpResponse:
    """Nodes are asked only when something is looked for."""
    user, given = person(request), _given(request.GET)
    found: Found | None = None
    if given["search"] or given["level"]:
        streams: Any = [given["stream"]] if given["stream"] else []
        query = LogsQuery(streams=streams, tail=PER_CONTAINER, search=given["search"], limit=PER_CONTAINER)
        narrowing = {"search": given["name"]} if given["name"] else {}
        found = search_logs(readable(user, narrowing), query, level=given["level"], limit=SHOWN)
    context = {
        "given": given,
        "found": found,
        "levels": LEVELS,
        "streams": STREAMS,
        "saved": LogFilter.objects.filter(owner=user),
        "kept": kept_logs(user)[:20],
    }
    return render(request, "containers/log_search.html", context)


@require_POST
@signed_in
def save_filter(request: HttpRequest) -> HttpResponse:
    user, given = person(request), _given(request.POST)
    name = request.POST.get("title", "").strip()[:64]
    back = reverse("containers:log-search") + "?" + "&".join(f"{key}={value}" for key, value in given.items() if value and value.isalnum())
    if not name or LogFilter.objects.filter(owner=user).count() >= MOST_FILTERS:
        return answer(request, Toast(_("Not saved"), _("Give the search a name of its own."), tone="amber"), to=back)
    try:
        with transaction.atomic():
            LogFilter.objects.create(owner=user, name=name, query={key: value for key, value in given.items() if value})
    except IntegrityError:
        return answer(request, Toast(_("Not saved"), _("You have a search of that name already."), tone="amber"), to=back)
    return answer(request, Toast(_("Search saved")), to=back)


@require_POST
@signed_in
def drop_filter(request: HttpRequest, filter_id: UUID) -> HttpResponse:
    LogFilter.objects.filter(owner=person(request), pk=filter_id).delete()
    return HttpResponseRedirect(reverse("containers:log-search"))


@require_GET
@signed_in
def kept(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """The last lines of a log whose container is gone."""

    log, problem, lines = get_kept(person(request), str(container_id)), "", []
    try:
        lines = logs.read(log, LogsQuery(tail=SHOWN, limit=SHOWN)).get("lines", [])
    except Problem as refused:
        problem = refused.detail
    return render(request, "containers/log_kept.html", {"log": log, "lines": lines, "problem": problem})


@require_POST
@signed_in
def add_alert(request: HttpRequest, container_id: UUID) -> HttpResponse:
    user = person(request)
    container = get_container(user, container_id, "containers.edit")
    pattern, back = request.POST.get("pattern", "").strip()[:256], reverse("containers:settings", args=[container.pk]) + "#alerts"
    toast = Toast(_("Not added"), _("Give a text of two characters or more; 20 alerts at most."), tone="amber")
    if len(pattern) >= 2:
        try:
            logwatch.add_alert(container, user=user, actor=user.as_actor(), pattern=pattern)
            toast = Toast(_("Alert added"))
        except (Conflict, Invalid) as refused:  # there are as many as may be, or it is no pattern
            toast = Toast(_("Not added"), refused.detail, tone="amber")
    return answer(request, toast, to=back)


@require_POST
@signed_in
def change_alert(request: HttpRequest, container_id: UUID, alert_id: UUID) -> HttpResponse:
    """`pattern`, `on` (1: it is looked for). One that was paused goes on."""
    user = person(request)
    alert = _alert(user, container_id, alert_id)
    toast = Toast(_("Not changed"), _("Give a text of two characters or more."), tone="amber")
    pattern = request.POST.get("pattern", "").strip()[:256]
    if len(pattern) >= 2:
        try:
            logwatch.change_alert(alert, actor=user.as_actor(), pattern=pattern, is_enabled=request.POST.get("on") == "1")
            toast = Toast(_("Alert changed"))
        except Invalid as refused:
            toast = Toast(_("Not changed"), refused.detail, tone="amber")
    return answer(request, toast, to=reverse("containers:settings", args=[container_id]) + "#alerts")


@require_POST
@signed_in
def drop_alert(request: HttpRequest, container_id: UUID, alert_id: UUID) -> HttpResponse:
    user = person(request)
    logwatch.remove_alert(_alert(user, container_id, alert_id), actor=user.as_actor())
    return HttpResponseRedirect(reverse("containers:settings", args=[container_id]) + "#alerts")


def _alert(user: User, container_id: UUID, alert_id: UUID) -> LogAlert:
    """To be edited. Raises NotFound, Forbidden."""
    container = get_container(user, container_id, "containers.edit")
    found = LogAlert.objects.filter(container=container, pk=alert_id).first()
    if found is None:
        raise NotFound(_("There is no such alert on this container."))
    found.container = container  # with its node
    return found
