"""`/audit`: the journal in sentences, what changed on a click."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import get_current_timezone, make_aware
from django.views.decorators.http import require_GET

from accounts.access import require
from audit.models import Entry
from lormas.common.pages import person, signed_in

PAGE_ROWS = 50
OUTCOMES = ("ok", "refused", "failed")
FILTERS = ("search", "actor", "action", "outcome", "target_type", "target_id", "since", "until")


def moment(text: str, *, end: bool = False) -> Any:
    """A day or a time as typed, in the panel's zone; the end of a day where it ends a span. None where it is none."""
    try:
        found = parse_datetime(text)
        day = None if found else parse_date(text)
    except ValueError:
        return None
    if day is not None:
        found = parse_datetime(f"{day.isoformat()}T00:00:00")
        if found is not None and end:
            found += timedelta(days=1)
    return make_aware(found, get_current_timezone()) if found is not None and found.tzinfo is None else found


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    """By key, not by page number: the journal is long, and grows while one reads."""
    require(person(request), "audit.view")
    given = {name: request.GET.get(name, "").strip()[:255] for name in FILTERS}
    found = Entry.objects.order_by("-id")
    for word in given["search"].split()[:6]:
        found = found.filter(
            Q(actor_label__icontains=word) | Q(target_label__icontains=word) | Q(action__icontains=word) | Q(message__icontains=word)
        )
    if given["actor"]:
        found = found.filter(actor_id=given["actor"])
    if given["action"]:
        found = found.filter(action__startswith=given["action"])
    if given["outcome"] in OUTCOMES:
        found = found.filter(outcome=given["outcome"])
    for name in ("target_type", "target_id"):
        if given[name]:
            found = found.filter(**{name: given[name]})
    if since := moment(given["since"]):
        found = found.filter(time__gte=since)
    if until := moment(given["until"], end=True):
        found = found.filter(time__lt=until)
    before = request.GET.get("before", "")
    rows = list((found.filter(id__lt=int(before)) if before.isascii() and before.isdigit() and len(before) < 19 else found)[: PAGE_ROWS + 1])
    export = {name: given[name] for name in ("search", "actor", "action", "outcome", "target_type", "target_id") if given[name]}
    context = {
        "entries": rows[:PAGE_ROWS],
        "older": rows[PAGE_ROWS - 1].pk if len(rows) > PAGE_ROWS else None,
        "first": not before,
        "filters": given,
        "filtered": any(given.values()),
        "outcomes": OUTCOMES,
        "rooms": ("accounts", "grants", "api", "containers", "nodes", "clusters", "eggs", "operations", "machines", "reservations", "audit"),
        "export": export | ({"since": since.isoformat()} if since else {}) | ({"until": until.isoformat()} if until else {}),
    }
    return render(request, "audit/list.html", context)
