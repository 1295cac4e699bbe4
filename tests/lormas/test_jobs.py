"""Background work goes to our broker, whichever thread asks for it."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from kombu.utils import functional

from lormas.celery import app
from lormas.common import jobs

pytestmark = pytest.mark.django_db


def test_a_task_goes_to_our_application_from_a_thread_that_never_imported_it(monkeypatch: Any, django_capture_on_commit_callbacks: Any) -> None:
    """Celery keeps its current application by thread; web servers run views and gateways in threads of their own."""
    sent: list[Any] = []
    monkeypatch.setattr(app, "send_task", lambda *args, **kwargs: sent.append((args, kwargs)))
    with django_capture_on_commit_callbacks() as callbacks:
        jobs.enqueue_on_commit("containers.tasks.restart_due", countdown_seconds=2)
    thread = threading.Thread(target=callbacks[0])
    thread.start()
    thread.join(10)
    assert [(args[0], kwargs["countdown"]) for args, kwargs in sent] == [("containers.tasks.restart_due", 2)]


def test_what_is_rolled_back_starts_nothing(django_capture_on_commit_callbacks: Any) -> None:
    from django.db import transaction

    with django_capture_on_commit_callbacks() as callbacks, pytest.raises(ZeroDivisionError), transaction.atomic():
        jobs.enqueue_on_commit("containers.tasks.restart_due")
        raise ZeroDivisionError
    assert callbacks == []


def test_a_dead_broker_is_no_error_and_costs_no_time(monkeypatch: Any, django_capture_on_commit_callbacks: Any, tmp_path: Path) -> None:
    """R24: the sweep finds the row anyway, and whoever asked (a gateway, a request) is not held up: a knock that the Redis client repeats
    once, at once, and no wait for another."""
    knocks: list[Any] = []
    waits: list[float] = []
    connect = socket.socket.connect

    def knock(self: socket.socket, address: Any) -> None:
        knocks.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", knock)
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(functional, "sleep", waits.append)  # kombu's, between its tries
    monkeypatch.setattr(app, "amqp", app.subclass_with_self("celery.app.amqp:AMQP", name="AMQP", attribute="_app")(app))
    monkeypatch.setattr(app.conf, "broker_write_url", f"redis+socket://{tmp_path}/nobody.sock")
    monkeypatch.setattr(app, "_pool", None)
    with django_capture_on_commit_callbacks() as callbacks:
        jobs.enqueue_on_commit("tests.nothing")
    callbacks[0]()
    assert (knocks, waits) == ([f"{tmp_path}/nobody.sock"] * 2, [])
