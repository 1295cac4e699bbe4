"""Celery's doors. They only make things start sooner: the keeper of every web process does the same work from the same rows."""

from __future__ import annotations

from celery import shared_task

from reservations.services import extend as extending
from reservations.services import queue, sweep


@shared_task(name="reservations.tasks.tidy", ignore_result=True, time_limit=600)
def tidy() -> dict[str, int]:
    """Each minute: the second hand on every expiry, and all that is due."""
    return sweep.everything()


@shared_task(name="reservations.tasks.advance", ignore_result=True, time_limit=600)
def advance(reservation_id: str) -> None:
    """Make one ready, or clean up after it."""
    sweep.advance(reservation_id)


@shared_task(name="reservations.tasks.look", ignore_result=True, time_limit=120)
def look(machine_id: str) -> None:
    """Look at a machine that was just registered or changed."""
    sweep.look(machine_id)


@shared_task(name="reservations.tasks.tell_machines", ignore_result=True, time_limit=300)
def tell_machines() -> int:
    """Tell machines their new end after an extension."""
    return extending.tell_machines()


@shared_task(name="reservations.tasks.serve_queue", ignore_result=True, time_limit=60)
def serve_queue() -> int:
    """Something became free."""
    return queue.serve_queue()


@shared_task(name="reservations.tasks.daily", ignore_result=True, time_limit=600)
def daily() -> dict[str, int]:
    """Each day: old reservations go."""
    return {"forgotten": sweep.forget_old()}
