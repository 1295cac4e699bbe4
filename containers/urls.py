"""Addresses of the container pages."""

from __future__ import annotations

from django.urls import path

from containers import file_views, install_views, log_views, many_views, moving_views, new_views, rollout_views, settings_views, startup_views, views

app_name = "containers"
urlpatterns = [
    path("containers", views.index, name="list"),
    path("containers/", views.index),
    path("containers/logs", log_views.search, name="log-search"),
    path("containers/logs/filters", log_views.save_filter, name="log-filter-save"),
    path("containers/logs/filters/<uuid:filter_id>/remove", log_views.drop_filter, name="log-filter-drop"),
    path("containers/logs/kept/<uuid:container_id>", log_views.kept, name="log-kept"),
    path("containers/<uuid:container_id>/alerts", log_views.add_alert, name="alert-add"),
    path("containers/<uuid:container_id>/alerts/<uuid:alert_id>/remove", log_views.drop_alert, name="alert-drop"),
    path("containers/bulk", many_views.act_on_many, name="bulk"),
    path("containers/<uuid:container_id>/duplicate", many_views.make_another, name="duplicate"),
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
    path("containers/<uuid:container_id>/move", moving_views.move, name="move"),
    path("containers/left-copies/<uuid:node_id>", moving_views.left_copies, name="left-copies"),
    path("containers/left-copies/<uuid:node_id>/<uuid:copy_id>/remove", moving_views.left_copy_remove, name="left-copy-remove"),
    path("containers/<uuid:container_id>/stats", views.stats_page, name="stats"),
    path("containers/<uuid:container_id>/startup", startup_views.startup, name="startup"),
    path("eggs/<uuid:egg_id>/rollout", rollout_views.rollout, name="rollout"),
    path("eggs/<uuid:egg_id>/rollouts/<uuid:rollout_id>/revert", rollout_views.revert, name="rollout-revert"),
    path("containers/<uuid:container_id>/files", file_views.files_page, name="files"),
    path("containers/<uuid:container_id>/terminal", file_views.terminal_page, name="terminal"),
    path("containers/<uuid:container_id>/settings", settings_views.settings_page, name="settings"),
    path("containers/<uuid:container_id>/settings/run-script", settings_views.run_script, name="run-script"),
    path("containers/<uuid:container_id>/revisions", settings_views.history, name="revisions"),
    path("containers/<uuid:container_id>/revisions/<int:number>/rollback", settings_views.roll_back, name="rollback"),
    path("containers/<uuid:container_id>/drift", settings_views.drift_part, name="drift"),
    path("containers/<uuid:container_id>/drift/reapply", settings_views.settle_drift, {"way": "reapply"}, name="drift-reapply"),
    path("containers/<uuid:container_id>/drift/adopt", settings_views.settle_drift, {"way": "adopt"}, name="drift-adopt"),
    path("containers/<uuid:container_id>/activity", views.activity, name="activity"),
    path("containers/<uuid:container_id>/delete", views.delete, name="delete"),
    path("containers/<uuid:container_id>/clear-state", views.clear, name="clear-state"),
    path("containers/<uuid:container_id>/restore", views.restore, name="restore"),
    path("containers/<uuid:container_id>/power/<slug:action>", views.power, name="power"),
]
