"""Usage read: sums by hour, day, container or owner."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, Max, QuerySet, Sum
from django.db.models.functions import TruncDay

from billing.metering import AMOUNTS
from billing.models import UsageHour

GROUPS = ("hour", "day", "container", "owner")
MAX_SPAN = {"hour": timedelta(days=31), "day": timedelta(days=366), "container": timedelta(days=366), "owner": timedelta(days=366)}
MAX_GROUPS = 1000


def usage(hours: QuerySet[UsageHour], *, since: datetime, until: datetime, group_by: str) -> dict[str, Any]:
    """`groups`: each with `time` (its begin), or `container_id` and `name`, or `owner_id`, and the amounts; by time, or those first that used most
    CPU, at most MAX_GROUPS. `left_off`: how many more there are. `total`: the amounts of all. Hours count whole: those that begin in
    [since, until)."""
    hours = hours.filter(hour__gte=since.replace(minute=0, second=0, microsecond=0), hour__lt=until).order_by()
    sums = {name: Sum(name) for name in AMOUNTS}
    found: Any
    if group_by == "hour":
        found = hours.values(time=F("hour")).annotate(**sums).order_by("time")
    elif group_by == "day":
        found = hours.values(time=TruncDay("hour", tzinfo=UTC)).annotate(**sums).order_by("time")
    elif group_by == "container":
        found = hours.values("container_id").annotate(name=Max("container_name"), **sums).order_by("-cpu_core_seconds", "container_id")
    else:
        found = hours.values("owner_id").annotate(**sums).order_by("-cpu_core_seconds", "owner_id")
    groups = list(found[: MAX_GROUPS + 1])
    left_off = max(0, found.count() - MAX_GROUPS) if len(groups) > MAX_GROUPS else 0
    total = {name: value or 0 for name, value in hours.aggregate(**sums).items()}
    return {"groups": groups[:MAX_GROUPS], "left_off": left_off, "total": total}
