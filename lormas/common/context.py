"""What every console page knows."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def console(request: HttpRequest) -> dict[str, Any]:
    """`panel_version`, `request_id` for all templates."""
    return {"panel_version": settings.VERSION, "request_id": getattr(request, "id", "")}
