"""What somebody uses of their quota, as a part of the pages of people."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from containers import access
from containers.services.quotas import standing_of
from lormas.common.pages import person, signed_in
from lormas.common.sizes import size_word

WORDS = {"containers": _("Containers"), "cpus": _("Cores"), "memory_bytes": _("Memory"), "disk_bytes": _("Disk")}


def shown(standing: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each: its words, used, allowed and left as texts, and percent (None: no limit)."""
    rows = []
    for name, one in standing.items():
        used, most = one["used"], one["allowed"]

        def word(value: float, name: str = name) -> str:
            return size_word(value, gap="\u202f") if name.endswith("_bytes") else f"{value:g}"

        percent = None if most is None else 100 if used >= most else round(100 * used / most)
        rows.append(
            {
                "name": name,
                "title": WORDS[name],
                "used": word(used),
                "allowed": None if most is None else word(most),
                "left": None if most is None else word(max(0, most - used)),
                "percent": percent,
            }
        )
    return rows


@require_GET
@signed_in
def of_person(request: HttpRequest, user_id: UUID) -> HttpResponse:
    """Fragment: bars for what is limited, plain numbers for the rest."""
    owner = access.quota_owner(person(request), user_id)
    rows = shown(standing_of(owner))
    return render(request, "containers/_quota.html", {"rows": rows, "limited": any(row["percent"] is not None for row in rows)})
