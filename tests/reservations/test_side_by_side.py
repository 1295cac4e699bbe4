"""All machines of a reservation are worked on side by side: proved by machines that speak only once all of them are spoken to."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from typing import Any
from uuid import uuid4

import pytest

from reservations.hands.base import Endpoint, Job
from reservations.hands.ssh import AT_ONCE, work

TOGETHER = 12


class Meeting(socketserver.ThreadingTCPServer):
    """Greets nobody before so many have come; then hangs up on all."""

    daemon_threads = True
    request_queue_size = 2 * TOGETHER

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Guest)
        self.all_here = threading.Barrier(TOGETHER)


class Guest(socketserver.BaseRequestHandler):
    server: Meeting

    def handle(self) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            self.server.all_here.wait(60)


@pytest.mark.ssh
def test_twelve_machines_are_spoken_to_at_the_same_time_and_each_has_one_outcome() -> None:
    assert TOGETHER <= AT_ONCE
    with Meeting() as meeting:
        threading.Thread(target=meeting.serve_forever, daemon=True).start()
        place: dict[str, Any] = {"host": "127.0.0.1", "port": meeting.server_address[1], "user": "root", "password": "x"}
        jobs = [Job(uuid4(), "check", Endpoint(name=f"m{number}", **place)) for number in range(TOGETHER)]
        outcomes = list(work(jobs))
        meeting.shutdown()
    assert sorted(str(outcome.job.id) for outcome in outcomes) == sorted(str(job.id) for job in jobs)
    assert {(outcome.ok, outcome.code) for outcome in outcomes} == {(False, "unreachable")}
    assert {outcome.detail for outcome in outcomes} == {"What answers there is no usable SSH server, or it hung up."}, (
        "none gave up waiting for another"
    )
