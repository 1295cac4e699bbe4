"""The second hand on every expiry: a panel ends what is over by itself, also what was over while it was down, or what a killed one left."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from audit.models import Entry
from lormas.common import clock
from reservations.models import Allocation, Machine, Reservation
from tests.conftest import wait_until
from tests.nodes.rig import Web
from tests.reservations.machines import Box, login
from tests.reservations.test_whole_life import over

pytestmark = [pytest.mark.ssh, pytest.mark.docker, pytest.mark.redis, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]
PASSWORD = "correct horse"


def test_a_panel_ends_what_is_over_and_takes_up_what_a_killed_one_left(
    alice: Any, real_pool: list[Any], boxes: list[Box], book: Any, settle: Any, tmp_path: Path
) -> None:
    """R32, R34: over while no panel ran; over while one ran; killed while it was removing; each ends by itself, clean, and once."""
    (machine, box) = real_pool[0], boxes[0]

    def state(made: Reservation) -> str:
        return str(Reservation.objects.values_list("state", flat=True).get(pk=made.pk))

    missed = settle(book(alice, 1, 60, password=PASSWORD, machines=(machine,)), "active")
    over(missed)
    assert login(box.port, missed.username, PASSWORD) == missed.username, "nobody has looked at it yet"
    panel = Web(log=tmp_path / "panel.log").start()
    try:
        wait_until(lambda: state(missed) == "ended", seconds=90)
        with pytest.raises(asyncssh.PermissionDenied):
            login(box.port, missed.username, PASSWORD)

        held = settle(book(alice, 1, 60, password=PASSWORD, machines=(machine,)), "active")
        soon = clock.now() + timedelta(seconds=1)
        Reservation.objects.filter(pk=held.pk).update(ends_at=soon)
        Allocation.objects.filter(reservation=held).update(ends_at=soon)
        box.container.pause()
        try:
            wait_until(lambda: Reservation.objects.filter(pk=held.pk, state="revoking", leased_until__isnull=False).exists(), seconds=90)
            panel.kill()
        finally:
            box.container.unpause()
        expired = Entry.objects.get(action="reservations.expire", target_id=str(held.pk))
        assert expired.time >= soon, "never early; how late it may be is what is waited for above"
        assert state(held) == "revoking"
        Reservation.objects.filter(pk=held.pk).update(leased_until=clock.now())  # the dead one's lease has run out
        panel = Web(log=tmp_path / "panel.log").start()
        wait_until(lambda: state(held) == "ended", seconds=90)
    finally:
        panel.stop()
    with pytest.raises(asyncssh.PermissionDenied):
        login(box.port, held.username, PASSWORD)
    assert box.sh("ls /home /var/lib/lormas") and "lr-alice" not in box.sh("cat /etc/passwd; ls /home /var/lib/lormas")
    assert Machine.objects.get(pk=machine.pk).condition == "ok"
    assert set(Allocation.objects.values_list("hold", flat=True)) == {"clean"}
    for one in (missed, held):
        assert Entry.objects.filter(action="reservations.end", target_id=str(one.pk)).count() == 1
