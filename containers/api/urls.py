"""Addresses of the containers API (both trailing-slash spellings work, see `lormas.urls`); `/api/logs/…` is an alias of the same views."""

from __future__ import annotations

from django.urls import path, re_path

from containers.api import adoption, backup_urls, history, inside_urls, install, logbook, many, moving, quotas, rollouts, settings, tunnel, views

urlpatterns = [
    *(
        route
        for base in ("nodes", "workers")
        for route in (
            path(f"{base}/<uuid:node_id>/containers", views.NodeContainers.as_view(), name=f"{base}-containers"),
            path(f"{base}/<uuid:node_id>/foreign", adoption.NodeForeign.as_view(), name=f"{base}-foreign"),
            path(f"{base}/<uuid:node_id>/foreign/<slug:ref>/adopt", adoption.NodeForeignAdopt.as_view(), name=f"{base}-foreign-adopt"),
            path(f"{base}/<uuid:node_id>/left-copies", moving.NodeLeftCopies.as_view(), name=f"{base}-left-copies"),
            path(f"{base}/<uuid:node_id>/left-copies/<uuid:copy_id>", moving.NodeLeftCopy.as_view(), name=f"{base}-left-copy"),
            path(f"{base}/<uuid:node_id>/metrics", views.NodeMetrics.as_view(), name=f"{base}-metrics"),
        )
    ),
    *inside_urls.urlpatterns,
    *backup_urls.urlpatterns,
    path("containers", views.ContainerList.as_view(), name="containers-list"),
    path("containers/quota", quotas.ContainerQuota.as_view(), name="containers-quota"),
    path("containers/bulk", many.ContainerBulk.as_view(), name="containers-bulk"),
    path("containers/<uuid:container_id>/duplicate", many.ContainerDuplicate.as_view(), name="containers-duplicate"),
    path("containers/<uuid:container_id>", views.ContainerDetail.as_view(), name="containers-detail"),
    path("containers/<uuid:container_id>/restore", views.ContainerRestore.as_view(), name="containers-restore"),
    re_path(
        r"^containers/(?P<container_id>[0-9a-f-]{36})/(?P<action>start|stop|restart|kill|pause|unpause)$",
        views.ContainerPower.as_view(),
        name="containers-power",
    ),
    path("containers/<uuid:container_id>/reinstall", install.ContainerReinstall.as_view(), name="containers-reinstall"),
    path("containers/<uuid:container_id>/migrate", moving.ContainerMigrate.as_view(), name="containers-migrate"),
    path("containers/<uuid:container_id>/prompts", install.ContainerPrompts.as_view(), name="containers-prompts"),
    re_path(
        r"^containers/(?P<container_id>[0-9a-f-]{36})/prompts/(?P<feature>eula|java_version|pid_limit|gsl_token|steam_disk_space)$",
        install.ContainerPrompt.as_view(),
        name="containers-prompt",
    ),
    path("containers/<uuid:container_id>/logs", views.ContainerLogs.as_view(), name="containers-logs"),
    path("containers/<uuid:container_id>/logs/download", views.ContainerLogsDownload.as_view(), name="containers-logs-download"),
    path("containers/<uuid:container_id>/logs/stream", views.ContainerLogsStream.as_view(), name="containers-logs-stream"),
    path("containers/<uuid:container_id>/stats", views.ContainerStats.as_view(), name="containers-stats"),
    path("containers/<uuid:container_id>/stats/history", views.ContainerStatsHistory.as_view(), name="containers-stats-history"),
    path("containers/<uuid:container_id>/command", views.ContainerCommand.as_view(), name="containers-command"),
    path("eggs/<uuid:egg_id>/rollouts", rollouts.Rollouts.as_view(), name="eggs-rollouts"),
    path("eggs/<uuid:egg_id>/rollouts/<uuid:rollout_id>", rollouts.RolloutDetail.as_view(), name="eggs-rollout"),
    path("eggs/<uuid:egg_id>/rollouts/<uuid:rollout_id>/revert", rollouts.RolloutRevert.as_view(), name="eggs-rollout-revert"),
    path("containers/<uuid:container_id>/clear_state", views.ContainerClearState.as_view(), name="containers-clear-state"),
    path("containers/<uuid:container_id>/idle", settings.ContainerIdle.as_view(), name="containers-idle"),
    path("containers/<uuid:container_id>/settings", settings.ContainerSettingsView.as_view(), name="containers-settings"),
    path("containers/<uuid:container_id>/settings/preview", settings.SettingsPreview.as_view(), name="containers-settings-preview"),
    path("containers/<uuid:container_id>/settings/startup-script", settings.StartupScript.as_view(), name="containers-startup-script"),
    path("containers/<uuid:container_id>/settings/execute-script", settings.ExecuteScript.as_view(), name="containers-execute-script"),
    path("containers/<uuid:container_id>/settings/tunnel", tunnel.TunnelView.as_view(), name="containers-tunnel"),
    path("containers/<uuid:container_id>/settings/tunnel/start", tunnel.TunnelStart.as_view(), name="containers-tunnel-start"),
    path("containers/<uuid:container_id>/settings/tunnel/stop", tunnel.TunnelStop.as_view(), name="containers-tunnel-stop"),
    path("settings/<uuid:container_id>/tunnel", tunnel.TunnelView.as_view(), name="settings-tunnel"),
    path("settings/<uuid:container_id>/tunnel/start", tunnel.TunnelStart.as_view(), name="settings-tunnel-start"),
    path("settings/<uuid:container_id>/tunnel/stop", tunnel.TunnelStop.as_view(), name="settings-tunnel-stop"),
    path("settings/<uuid:container_id>", settings.ContainerSettingsView.as_view(), name="settings"),
    path("settings/<uuid:container_id>/startup-script", settings.StartupScript.as_view(), name="settings-startup-script"),
    path("settings/<uuid:container_id>/execute-script", settings.ExecuteScript.as_view(), name="settings-execute-script"),
    path("containers/<uuid:container_id>/revisions", history.Revisions.as_view(), name="containers-revisions"),
    path("containers/<uuid:container_id>/revisions/<int:number>/rollback", history.Rollback.as_view(), name="containers-rollback"),
    path("containers/<uuid:container_id>/drift", history.Drift.as_view(), name="containers-drift"),
    path("containers/<uuid:container_id>/drift/reapply", history.DriftReapply.as_view(), name="containers-drift-reapply"),
    path("containers/<uuid:container_id>/drift/adopt", history.DriftAdopt.as_view(), name="containers-drift-adopt"),
    path("containers/<uuid:container_id>/log-alerts", logbook.LogAlerts.as_view(), name="containers-log-alerts"),
    path("containers/<uuid:container_id>/log-alerts/<uuid:alert_id>", logbook.LogAlertOne.as_view(), name="containers-log-alert"),
    path("logs", logbook.LogsEverywhere.as_view(), name="logs-everywhere"),
    path("logs/filters", logbook.LogFilters.as_view(), name="logs-filters"),
    path("logs/filters/<uuid:filter_id>", logbook.LogFilterOne.as_view(), name="logs-filter"),
    path("logs/kept", logbook.KeptLogs.as_view(), name="logs-kept"),
    path("logs/kept/<uuid:container_id>", logbook.KeptLogLines.as_view(), name="logs-kept-lines"),
    path("logs/kept/<uuid:container_id>/download", logbook.KeptLogDownload.as_view(), name="logs-kept-download"),
    path("logs/<uuid:container_id>", views.ContainerLogs.as_view(), name="logs"),
    path("logs/<uuid:container_id>/download", views.ContainerLogsDownload.as_view(), name="logs-download"),
    path("logs/<uuid:container_id>/stream", views.ContainerLogsStream.as_view(), name="logs-stream"),
]
