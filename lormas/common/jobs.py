"""Starting background work when the transaction is committed."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import transaction
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError

log = structlog.get_logger(__name__)

APP = "lormas.celery.app"
"""By name, as in `lormas.wiring`. Not `celery.current_app`: that is kept by thread, and in any but the one that imported `lormas.celery` it is an
empty application with a broker of its own that nobody runs."""


def enqueue_on_commit(task: str, *args: Any, countdown_seconds: float = 0) -> None:
    """Send a Celery task by its dotted name after the commit. A dead broker is logged, not raised: a sweep finds the row anyway."""

    def send() -> None:
        try:
            import_string(APP).send_task(task, args=args, countdown=countdown_seconds or None, retry=False)
        except (OSError, OperationalError) as error:
            log.warning("jobs.enqueue_failed", task=task, error=str(error))

    transaction.on_commit(send)
