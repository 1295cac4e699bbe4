"""Addresses of the billing API."""

from __future__ import annotations

from django.urls import path

from billing.api import views

urlpatterns = [path("usage", views.Usage.as_view(), name="usage")]
