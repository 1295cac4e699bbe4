"""Schedules of containers: when, what in which order, and what came of it."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from containers.models.container import Container
from lormas.common.ids import new_id


class Schedule(models.Model):
    """Steps that run by the clock or because something happened. They run with the rights of `author` as these are then."""

    class Trigger(models.TextChoices):
        CRON = "cron", "By the clock"
        STATE = "state", "When its state changes"
        CRASH = "crash", "When it crashes"
        LOG = "log", "When it writes a line"
        RESOURCE = "resource", "When it uses much"

    class Missed(models.TextChoices):
        SKIP = "skip", "Skip"
        ONCE = "once", "Run once"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="schedules")
    name = models.CharField(max_length=64)
    is_enabled = models.BooleanField(default=True)
    trigger = models.CharField(max_length=8, choices=Trigger.choices, default=Trigger.CRON)
    cron = models.CharField(max_length=120, blank=True)
    timezone = models.CharField(max_length=64, default="UTC")
    when = models.JSONField(default=dict, blank=True)  # of the other triggers: {"status"} | {"pattern"} | {"resource", "above", "minutes"}
    missed = models.CharField(max_length=8, choices=Missed.choices, default=Missed.SKIP)
    only_when_running = models.BooleanField(default=False)
    steps = models.JSONField(default=list)  # [{"kind", "action" | "command" | "name" | "seconds", "offset_seconds", "continue_on_failure"}]
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    next_at = models.DateTimeField(null=True, blank=True, db_index=True)  # of an enabled one by the clock
    memory = models.JSONField(default=dict, blank=True)  # of the other triggers: what was seen last
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["container", "name"], name="schedule_name_once_per_container")]
        indexes = [models.Index(fields=["is_enabled", "trigger"])]

    def __str__(self) -> str:
        return self.name


class ScheduleRun(models.Model):
    """One run. `key` says what it is for: of a moment or an event there is one run, whoever looks how often."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Done"
        FAILED = "failed", "Failed"
        SKIPPED = "skipped", "Skipped"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="runs")
    key = models.CharField(max_length=96)
    cause = models.CharField(max_length=255)  # in words
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    problem = models.CharField(max_length=500, blank=True)
    steps = models.JSONField(default=list)  # a copy of the schedule's, each with {"state", "detail", "operation", "started_at", "finished_at"}
    position = models.PositiveSmallIntegerField(default=0)
    resume_at = models.DateTimeField(null=True, blank=True)  # nothing is to be done before
    claimed_until = models.DateTimeField(null=True, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")  # who pressed "run now"
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["schedule", "key"], name="one_run_per_schedule_and_key")]
        indexes = [models.Index(fields=["state", "resume_at"]), models.Index(fields=["schedule", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.key}"
