"""Pages of usage."""

from __future__ import annotations

from django.urls import path

from billing import views

app_name = "billing"
urlpatterns = [path("usage/containers/<uuid:container_id>", views.of_container, name="of-container")]
