"""`make machines`: ten small machines that are there, reserved over the API, used over real SSH, and taken away again."""

from __future__ import annotations

import io
import os
import threading
from typing import Any

import asyncssh
import pytest
from django.core.management import call_command
from django.db import connection

from provision import demo
from reservations.models import Machine, Reservation
from reservations.services import sweep
from tests.reservations.machines import login
from tests.reservations.test_whole_life import over

pytestmark = [pytest.mark.ssh, pytest.mark.docker, pytest.mark.redis, pytest.mark.django_db(transaction=True)]
PASSWORD = "correct horse"


@pytest.mark.parametrize("without_engine", [False, True], ids=["containers", "chroots"])
def test_demo_machines_come_serve_and_go(without_engine: bool, settings: Any, tmp_path: Any, alice: Any, api: Any, settle: Any) -> None:
    if without_engine and os.geteuid() != 0:
        pytest.skip("chroots need root")
    settings.DATA_DIR = tmp_path
    count = 2 if without_engine else 4
    gone = threading.Event()

    def beside() -> None:
        """A panel that runs meanwhile: it serves the queue and cleans."""
        while not gone.wait(0.05):
            sweep.everything()

    try:
        out = io.StringIO()
        call_command("demo_machines", "up", count=count, without_engine=without_engine, stdout=out)
        assert f"{count} of them are ready" in out.getvalue()
        assert Machine.objects.filter(reachable=True, condition="ok").exclude(host_key="").count() == count
        body = {"count": 2, "duration_minutes": 30, "reservation_password": PASSWORD}
        made = api(alice).post("/api/reservations", body, format="json")
        assert made.status_code == 201, made.json()
        reservation = settle(Reservation.objects.get(pk=made.json()["id"]), "active")
        held = api(alice).get(f"/api/reservations/{reservation.pk}").json()["machines"]
        assert len({row["port"] for row in held}) == 2
        for row in held:
            assert login(row["port"], row["username"], PASSWORD, "id -un && echo $HOME") == f"{row['username']}\n/home/{row['username']}"
        over(reservation)
        settle(reservation, "ended")
        for row in held:
            with pytest.raises(asyncssh.PermissionDenied):
                login(row["port"], row["username"], PASSWORD)
        assert Machine.objects.filter(condition="ok").count() == count, "proved clean"
        kept = settle(Reservation.objects.get(pk=api(alice).post("/api/reservations", body, format="json").json()["id"]), "active")
        waits = api(alice).post("/api/reservations", {**body, "count": count, "queue": True}, format="json").json()
        panel = threading.Thread(target=lambda: [beside(), connection.close()], daemon=True)
        panel.start()
        call_command("demo_machines", "down", stdout=out)
        gone.set()
        panel.join(60)
        kept.refresh_from_db()
        assert kept.state == "ended" and not Machine.objects.exists()
        assert Reservation.objects.get(pk=waits["id"]).state == "waiting", "who waits gets none of those that are taken away"
    finally:
        demo.down(folder=tmp_path / "demo-machines", docker_host=os.environ.get("DOCKER_HOST"))
    for port in {row["port"] for row in held}:
        with pytest.raises(OSError):
            login(port, "nobody", "x")
