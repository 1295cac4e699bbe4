"""Address of the journal's page; the room `audit` lies below accounts, so its door is here."""

from __future__ import annotations

from django.urls import path

from accounts import journal_views

app_name = "audit"
urlpatterns = [path("audit", journal_views.index, name="list"), path("audit/", journal_views.index)]
