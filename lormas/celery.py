"""The Celery application and the periodic schedule (kept by django-celery-beat once it has run)."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.schedules import crontab

from lormas.wiring import JOBS

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")

app = Celery("lormas")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _schedule() -> dict[str, dict[str, Any]]:
    """Beat only knocks: `nodes.jobs` decides under a lease whether a job runs."""
    found: dict[str, dict[str, Any]] = {}
    for name, job in JOBS.items():
        at, every = str(job.get("at", "")), int(job["every_seconds"])
        when: Any = crontab(hour=at[:2].lstrip("0") or "0", minute=at[3:].lstrip("0") or "0") if at else float(every)
        found[f"job: {name}"] = {"task": "nodes.tasks.run_job", "args": (name,), "schedule": when, "options": {"expires": min(every, 3600) - 5}}
    return found


app.conf.beat_schedule = _schedule()
