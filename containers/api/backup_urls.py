"""Addresses of backups, their destinations, and schedules."""

from __future__ import annotations

from django.urls import path

from containers.api import backups, destinations, schedules

ONE = "containers/<uuid:container_id>/backups/<uuid:backup_id>"
SCHEDULE = "containers/<uuid:container_id>/schedules/<uuid:schedule_id>"

urlpatterns = [
    path("containers/<uuid:container_id>/backups", backups.Backups.as_view(), name="containers-backups"),
    path("containers/<uuid:container_id>/backups/policy", backups.BackupPolicyView.as_view(), name="containers-backup-policy"),
    path(ONE, backups.BackupOne.as_view(), name="containers-backup"),
    path(f"{ONE}/download", backups.BackupDownload.as_view(), name="containers-backup-download"),
    path(f"{ONE}/restore", backups.BackupRestore.as_view(), name="containers-backup-restore"),
    path(f"{ONE}/verify", backups.BackupVerify.as_view(), name="containers-backup-verify"),
    path(f"{ONE}/prove", backups.BackupProve.as_view(), name="containers-backup-prove"),
    path("containers/<uuid:container_id>/schedules", schedules.Schedules.as_view(), name="containers-schedules"),
    path(SCHEDULE, schedules.ScheduleOne.as_view(), name="containers-schedule"),
    path(f"{SCHEDULE}/run", schedules.ScheduleRunNow.as_view(), name="containers-schedule-run"),
    path(f"{SCHEDULE}/runs", schedules.ScheduleRuns.as_view(), name="containers-schedule-runs"),
    path("backup-destinations", destinations.Destinations.as_view(), name="backup-destinations"),
    path("backup-destinations/<uuid:destination_id>", destinations.DestinationOne.as_view(), name="backup-destination"),
    path("backup-destinations/<uuid:destination_id>/test", destinations.DestinationTest.as_view(), name="backup-destination-test"),
]
