"""Addresses of the access and activity tabs, for every kind of `lormas.wiring.GRANTS`."""

from __future__ import annotations

from django.urls import re_path

from accounts import grant_views
from lormas.common.wires import wired

app_name = "grants"
_PLURAL = "|".join(f"{name}s" for name in wired("GRANTS"))
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_BASE = rf"^(?P<plural>{_PLURAL})/(?P<object_id>{_UUID})"
urlpatterns = [
    re_path(rf"{_BASE}/access/?$", grant_views.access, name="access"),
    re_path(rf"{_BASE}/access/(?P<grant_id>{_UUID})$", grant_views.change, name="change"),
    re_path(rf"{_BASE}/access/(?P<grant_id>{_UUID})/take$", grant_views.take, name="take"),
    re_path(rf"{_BASE}/activity$", grant_views.activity, name="activity"),
]
