"""Addresses of the pool's pages."""

from __future__ import annotations

from django.urls import path

from reservations import machine_views, views

app_name = "reservations"
urlpatterns = [
    path("machines", machine_views.index, name="machines"),
    path("machines/", machine_views.index),
    path("machines/rows", machine_views.rows, name="machine-rows"),
    path("machines/new", machine_views.new, name="machine-new"),
    path("machines/import", machine_views.import_file, name="machine-import"),
    path("machines/<uuid:machine_id>", machine_views.detail, name="machine"),
    path("machines/<uuid:machine_id>/", machine_views.detail),
    path("machines/<uuid:machine_id>/edit", machine_views.edit, name="machine-edit"),
    path("machines/<uuid:machine_id>/delete", machine_views.delete, name="machine-delete"),
    path("machines/<uuid:machine_id>/check", machine_views.check, name="machine-check"),
    path("machines/<uuid:machine_id>/broken", machine_views.broken, name="machine-broken"),
    path("machines/<uuid:machine_id>/fixed", machine_views.fixed, name="machine-fixed"),
    path("machines/<uuid:machine_id>/clean", machine_views.clean, name="machine-clean"),
    path("available", views.available, name="available"),
    path("available/", views.available),
    path("reservations", views.index, name="list"),
    path("reservations/", views.index),
    path("reservations/new", views.new, name="new"),
    path("reservations/try", views.try_it, name="try"),
    path("reservations/usage", views.usage, name="usage"),
    path("reservations/release-all", views.release_all, name="release-all"),
    path("reservations/<uuid:reservation_id>", views.detail, name="detail"),
    path("reservations/<uuid:reservation_id>/", views.detail),
    path("reservations/<uuid:reservation_id>/extend", views.extend, name="extend"),
    path("reservations/<uuid:reservation_id>/release", views.release, name="release"),
]
