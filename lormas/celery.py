"""The Celery application and the periodic schedule (kept by django-celery-beat once it has run)."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")

app = Celery("lormas")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "containers: restarts, stuck states, trash, old stats": {"task": "containers.tasks.tidy", "schedule": 60.0, "options": {"expires": 55}},
    "accounts: rights on objects that have ended": {"task": "accounts.tasks.sweep_grants", "schedule": 60.0, "options": {"expires": 55}},
    "audit: seals of rows that have none": {"task": "audit.tasks.seal", "schedule": 60.0, "options": {"expires": 55}},
    "audit: rows older than AUDIT_RETENTION_DAYS": {"task": "audit.tasks.prune", "schedule": 6 * 3600.0, "options": {"expires": 3600}},
    "reservations: ends, starts, cleaning, queue, checks": {"task": "reservations.tasks.tidy", "schedule": 60.0, "options": {"expires": 55}},
    "reservations: old rows, keys of secrets": {"task": "reservations.tasks.daily", "schedule": 86400.0, "options": {"expires": 3600}},
    "audit: stored answers of idempotent requests": {"task": "audit.tasks.forget_expired", "schedule": 3600.0, "options": {"expires": 3000}},
}
