"""Usage as a part of a container's page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from billing import selectors
from billing.access import visible_hours
from billing.models import UsageHour
from containers.access import visible_containers
from lormas.common import clock
from lormas.common.errors import Invalid
from lormas.common.pages import person, signed_in
from lormas.common.sizes import size_word

SPANS = {"hour": timedelta(hours=24), "day": timedelta(days=30)}
GAP_SHOWN_SECONDS = 60


@require_GET
@signed_in
def of_container(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Fragment, or without JavaScript a page: a row for each of the last 24 hours or 30 days that have usage, newest first."""
    hours = visible_hours(person(request), container_id)
    by = request.GET.get("by", "day")
    if by not in SPANS:
        raise Invalid(_("Usage is shown by %(words)s.") % {"words": ", ".join(SPANS)})
    now = clock.now()
    found = selectors.usage(hours, since=now - SPANS[by], until=now, group_by=by)
    most = max((group["cpu_core_seconds"] for group in found["groups"]), default=0)
    rows = [_shown(group, most) for group in reversed(found["groups"])]
    whole = not request.htmx  # type: ignore[attr-defined]  # without JavaScript it is a page of its own
    context = {"container_id": container_id, "by": by, "rows": rows, "total": _shown(found["total"], 0)}
    if whole:
        context |= {"name": _name(hours), "is_there": visible_containers(person(request)).filter(pk=container_id).exists()}
    return render(request, "billing/container.html" if whole else "billing/_container.html", context)


def _name(hours: QuerySet[UsageHour]) -> str:
    """What the container was called when it was last counted."""
    last = hours.order_by("-hour").values_list("container_name", flat=True)[:1]
    return next(iter(last), "")


def _shown(amounts: dict[str, Any], most: float) -> dict[str, Any]:
    """Amounts for eyes: hours in place of seconds, means in place of byte-seconds (None: nothing was measured)."""
    ran, gap = amounts["running_seconds"], amounts["seconds_unmeasured"]
    measured = ran - gap
    with_disk = measured - amounts["seconds_without_disk"]
    return {
        "time": amounts.get("time"),
        "cpu_hours": amounts["cpu_core_seconds"] / 3600,
        "cpu_unknown": amounts["seconds_without_cpu"] >= GAP_SHOWN_SECONDS,
        "share": round(100 * amounts["cpu_core_seconds"] / most) if most else 0,
        "memory": size_word(amounts["memory_byte_seconds"] / measured, gap="\u202f") if measured > 0 else None,
        "disk": size_word(amounts["disk_byte_seconds"] / with_disk, gap="\u202f") if with_disk > 0.001 else None,
        "received": size_word(amounts["network_rx_bytes"], gap="\u202f"),
        "sent": size_word(amounts["network_tx_bytes"], gap="\u202f"),
        "ran_hours": ran / 3600,
        "gap_minutes": round(gap / 60) if gap >= GAP_SHOWN_SECONDS else 0,
    }
