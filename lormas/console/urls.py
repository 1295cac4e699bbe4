"""Addresses of the console's own pages."""

from __future__ import annotations

from django.urls import path

from lormas.console import views

app_name = "console"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("dashboard/numbers", views.overview, name="numbers"),
    path("dashboard/fleet", views.fleet, name="fleet"),
    path("dashboard/mine", views.mine, name="mine"),
    path("dashboard/steps", views.first_steps, name="steps"),
    path("search", views.search, name="search"),
]
