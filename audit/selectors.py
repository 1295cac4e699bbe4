"""Reads of the journal."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from audit.models import Entry


def timeline(target_type: str, target_id: Any) -> QuerySet[Entry]:
    """What happened to one object, newest first."""
    return Entry.objects.filter(target_type=target_type, target_id=str(target_id)).order_by("-id")
