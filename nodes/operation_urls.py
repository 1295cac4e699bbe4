"""Addresses of the operations pages."""

from __future__ import annotations

from django.urls import path

from nodes import operation_views as views

app_name = "operations"
urlpatterns = [
    path("operations", views.index, name="list"),
    path("operations/", views.index),
    path("operations/rows", views.rows, name="rows"),
    path("operations/drawer", views.drawer, name="drawer"),
    path("operations/running", views.running, name="running"),
    path("operations/<uuid:operation_id>", views.detail, name="detail"),
    path("operations/<uuid:operation_id>/", views.detail),
    path("operations/<uuid:operation_id>/toast", views.ended, name="toast"),
    path("operations/<uuid:operation_id>/cancel", views.cancel, name="cancel"),
]
