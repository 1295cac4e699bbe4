"""Addresses of the node pages."""

from __future__ import annotations

from django.urls import path

from nodes import views

app_name = "nodes"
urlpatterns = [
    path("nodes", views.index, name="list"),
    path("nodes/", views.index),
    path("nodes/rows", views.rows, name="rows"),
    path("nodes/new", views.new, name="new"),
    path("nodes/new/", views.new),
    path("nodes/<uuid:node_id>", views.detail, name="detail"),
    path("nodes/<uuid:node_id>/", views.detail),
    path("nodes/<uuid:node_id>/edit", views.edit, name="edit"),
    path("nodes/<uuid:node_id>/schedulable", views.schedulable, name="schedulable"),
    path("nodes/<uuid:node_id>/status", views.status, name="status"),
    path("nodes/<uuid:node_id>/token", views.token, name="token"),
    path("nodes/<uuid:node_id>/delete", views.delete, name="delete"),
]
