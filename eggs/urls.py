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
    path("eggs/<uuid:egg_id>/icon", views.icon, name="icon"),
    path("eggs/<uuid:egg_id>/diff", views.diff, name="diff"),
    path("eggs/<uuid:egg_id>/preview", views.preview, name="preview"),
    path("eggs/<uuid:egg_id>/labels", views.change, name="labels"),
    path("eggs/<uuid:egg_id>/delete", views.delete, name="delete"),
    path("eggs/<uuid:egg_id>/versions/<int:number>/use", views.use, name="use"),
    path("eggs/<uuid:egg_id>/versions/<int:number>/approve", views.approve, name="approve"),
]
