"""Addresses of the egg pages."""

from __future__ import annotations

from django.urls import path

from eggs import views

app_name = "eggs"
urlpatterns = [
    path("eggs", views.index, name="list"),
    path("eggs/", views.index),
    path("eggs/import", views.import_page, name="import"),
    path("eggs/import/", views.import_page),
    path("eggs/<uuid:egg_id>", views.detail, name="detail"),
    path("eggs/<uuid:egg_id>/", views.detail),
]
