"""Addresses of the eggs API."""

from __future__ import annotations

from django.urls import path

from eggs.api import views

urlpatterns = [
    path("eggs", views.Eggs.as_view(), name="eggs-list"),
    path("eggs/import", views.EggImport.as_view(), name="eggs-import"),
    path("eggs/<uuid:egg_id>", views.EggDetail.as_view(), name="eggs-detail"),
    path("eggs/<uuid:egg_id>/versions", views.EggVersions.as_view(), name="eggs-versions"),
    path("eggs/<uuid:egg_id>/versions/<int:number>/approval", views.EggApproval.as_view(), name="eggs-approval"),
    path("eggs/<uuid:egg_id>/use", views.EggUse.as_view(), name="eggs-use"),
    path("eggs/<uuid:egg_id>/diff", views.EggDiff.as_view(), name="eggs-diff"),
    path("eggs/<uuid:egg_id>/export", views.EggExport.as_view(), name="eggs-export"),
    path("eggs/<uuid:egg_id>/preview", views.EggPreview.as_view(), name="eggs-preview"),
]
