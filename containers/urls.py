"""Addresses of the container pages."""

from __future__ import annotations

from django.urls import path

from containers import install_views, new_views, rollout_views, startup_views, views

app_name = "containers"
urlpatterns = [
    path("containers", views.index, name="list"),
    path("containers/", views.index),
    path("containers/rows", views.rows, name="rows"),
    path("containers/new", new_views.new, name="new"),
    path("containers/new/", new_views.new),
    path("containers/deploy", new_views.deploy, name="deploy"),
    path("containers/new/placement", new_views.placement, name="placement"),
    path("containers/new/request", new_views.as_request, name="as-request"),
    path("containers/on-node/<uuid:node_id>", views.on_node, name="on-node"),
    path("containers/<uuid:container_id>", views.console, name="detail"),
    path("containers/<uuid:container_id>/", views.console),
    path("containers/<uuid:container_id>/console", views.console, name="console"),
    path("containers/<uuid:container_id>/logs", views.plain),
    path("containers/<uuid:container_id>/head", views.head, name="head"),
    path("containers/<uuid:container_id>/facts", views.facts, name="facts"),
    path("containers/<uuid:container_id>/prompts", install_views.prompts, name="prompts"),
    path("containers/<uuid:container_id>/prompts/<slug:feature>", install_views.answer_prompt, name="prompt"),
    path("containers/<uuid:container_id>/reinstall", install_views.reinstall, name="reinstall"),
    path("containers/<uuid:container_id>/stats", views.stats_page, name="stats"),
    path("containers/<uuid:container_id>/startup", startup_views.startup, name="startup"),
    path("eggs/<uuid:egg_id>/rollout", rollout_views.rollout, name="rollout"),
    path("eggs/<uuid:egg_id>/rollouts/<uuid:rollout_id>/revert", rollout_views.revert, name="rollout-revert"),
    path("containers/<uuid:container_id>/settings", views.settings_page, name="settings"),
    path("containers/<uuid:container_id>/activity", views.activity, name="activity"),
    path("containers/<uuid:container_id>/delete", views.delete, name="delete"),
    path("containers/<uuid:container_id>/restore", views.restore, name="restore"),
    path("containers/<uuid:container_id>/power/<slug:action>", views.power, name="power"),
]
