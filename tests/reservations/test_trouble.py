"""What goes wrong on machines, on real machines: another host key, one that can't be made ready, one that can't be proved clean, a lost panel."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncssh
import pytest
from django.test import Client

from audit.models import Entry
from lormas.common import clock
from lormas.common.errors import Conflict
from reservations.models import Allocation, Machine, Reservation
from reservations.services import checks, revoke
from reservations.services import extend as extending
from reservations.services.machines import mark_fixed
from reservations.states import Hold
from tests.conftest import wait_until
from tests.reservations.machines import Box, key_pair, login
from tests.reservations.test_whole_life import over

pytestmark = [pytest.mark.ssh, pytest.mark.docker, pytest.mark.redis, pytest.mark.django_db(transaction=True)]
PASSWORD = "correct horse"


def refused(box: Box, name: str) -> bool:
    try:
        login(box.port, name, PASSWORD)
    except asyncssh.PermissionDenied:
        return True
    except asyncssh.Error:  # put out in the middle of it: only the next try tells
        return False
    return False


def test_another_host_key_stops_everything_until_a_person_decides(
    alice: Any, root: Any, real_pool: list[Any], boxes: list[Box], settle: Any, book: Any
) -> None:
    machine = real_pool[2]
    pinned = machine.host_key
    boxes[2].new_host_key()
    Machine.objects.filter(pk=machine.pk).update(port=boxes[2].port)
    machine.refresh_from_db()
    checked = checks.check_machine(machine, actor=root.as_actor())
    assert checked.host_key_alarm and checked.host_key == pinned and checked.condition == "broken"
    assert Entry.objects.filter(action__contains="host_key", target_id=str(machine.pk)).exists()
    with pytest.raises(Conflict):
        book(alice, 3)
    from reservations.hostkeys import fingerprint

    mark_fixed(checked, actor=root.as_actor(), accept_host_key=fingerprint(checked.host_key_alarm))
    checks.check_machine(checked, actor=root.as_actor())
    checked.refresh_from_db()
    assert checked.usable and checked.host_key != pinned


def test_partly_failed_is_taken_back_everywhere(alice: Any, real_pool: list[Any], boxes: list[Box], book: Any, settle: Any) -> None:
    """All or nothing on the machines, too: what was made on the good ones is gone again, and it is said which one failed."""
    lost = real_pool[2]
    made = book(alice, 3, 60, password=PASSWORD)
    Machine.objects.filter(pk=lost.pk).update(port=1)  # out of reach
    settle(made, "revoking", "failed")
    Allocation.objects.filter(reservation=made, machine=lost).update(attempts=2)  # two tries were made before
    settle(made, "failed")
    assert "none was kept" in made.reason and lost.name in made.reason, made.reason
    for box in boxes[:2]:
        assert refused(box, made.username)
        assert made.username not in box.sh("cat /etc/passwd; ls /home")
    assert dict(Machine.objects.values_list("name", "condition")) == {"box-1": "ok", "box-2": "ok", "box-3": "quarantined"}


def test_a_part_is_kept_where_a_part_will_do(alice: Any, real_pool: list[Any], boxes: list[Box], book: Any, settle: Any) -> None:
    lost = real_pool[2]
    made = book(alice, 3, 60, password=PASSWORD, partial=True)
    Machine.objects.filter(pk=lost.pk).update(port=1)
    settle(made, "active")
    assert made.reason == "1 of 3 machines could not be made ready."
    for box in boxes[:2]:
        assert login(box.port, made.username, PASSWORD) == made.username
    over(made)
    Allocation.objects.filter(reservation=made, machine=lost).update(attempts=2)
    settle(made, "ended")
    assert all(refused(box, made.username) for box in boxes[:2])


def test_what_cannot_be_proved_clean_is_quarantined_and_cleaned_by_the_button(
    alice: Any, root: Any, real_pool: list[Any], boxes: list[Box], book: Any, settle: Any
) -> None:
    """R34: mid-way out of reach: tried again until it is proved."""
    made = settle(book(alice, 1, 60, password=PASSWORD), "active")
    machine = made.allocations.get().machine
    box = next(one for one in boxes if one.port == machine.port)
    Machine.objects.filter(pk=machine.pk).update(port=1)  # out of reach
    over(made)
    Allocation.objects.filter(reservation=made).update(attempts=2)  # two tries were made before
    settle(made, "ended")
    machine.refresh_from_db()
    assert machine.condition == "quarantined" and made.username in machine.condition_reason
    assert made.allocations.get().hold == Hold.DIRTY and not refused(box, made.username)
    Machine.objects.filter(pk=machine.pk).update(port=box.port)
    machine.refresh_from_db()
    client = Client()
    client.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    page = client.get(f"/machines/{machine.pk}").content.decode()
    assert "Quarantined" in page and made.username in page and f'action="/machines/{machine.pk}/clean"' in page
    assert client.post(f"/machines/{machine.pk}/clean").status_code == 302
    cleaned = Machine.objects.get(pk=machine.pk)
    assert cleaned.condition == "ok" and made.allocations.get().hold == Hold.CLEAN
    assert refused(box, made.username)
    with pytest.raises(Conflict):  # never removed twice
        revoke.clean_machine(cleaned, actor=root.as_actor())


def test_the_machine_itself_shuts_the_door_when_the_panel_is_gone(alice: Any, real_pool: list[Any], boxes: list[Box], book: Any, settle: Any) -> None:
    """R34: the third hand: no sweep runs, and at the end the login is refused all the same."""
    made = settle(book(alice, 1, 60, password=PASSWORD), "active")
    box = next(one for one in boxes if one.port == made.allocations.get().machine.port)
    assert not refused(box, made.username)
    box.sh('date +%s >/var/lib/lormas/"$1".until', made.username)  # its end is now, as the machine knows it
    box.sh("kill $(pidof sleep)")  # it looks again within 15 s: at once, so that nobody waits here
    wait_until(lambda: refused(box, made.username), seconds=60)
    revoke.release(Reservation.objects.get(pk=made.pk), actor=alice.as_actor())
    settle(made, "ended", seconds=90)
    assert made.username not in box.sh("cat /etc/passwd")
    assert made.ends_at > clock.now() + timedelta(minutes=1)


@pytest.mark.parametrize(
    "trap", ["rm -rf .ssh && ln -s /root/.ssh .ssh", "ln -sf /root/.ssh/authorized_keys .ssh/authorized_keys"], ids=["folder", "file"]
)
def test_nobody_reaches_roots_keys_through_their_own_home(
    trap: str, alice: Any, real_pool: list[Any], boxes: list[Box], book: Any, settle: Any
) -> None:
    """B03, B04: what root does in a person's home is done as that person, or not at all: an extension would have written their key among root's, and
    the end would have taken root's away."""
    box, way_in = boxes[0], "cat /root/.ssh/authorized_keys; stat -c '%u:%a' /root /root/.ssh /root/.ssh/authorized_keys"
    before = box.sh(way_in)
    private, public = key_pair()
    held = settle(book(alice, 1, 30, password="", public_key=public, machines=(real_pool[0],)), "active")
    until = 'cat /var/lib/lormas/"$1".until'
    end_before = int(box.sh(until, held.username))
    login(box.port, held.username, key=private, command=trap)
    extending.extend(held, minutes=30, actor=alice.as_actor())
    extending.tell_machines()
    assert box.sh(way_in) == before
    if trap.startswith("ln"):
        assert login(box.port, held.username, key=private) == held.username, "their own key is where it belongs again, with its new end"
        assert int(box.sh(until, held.username)) >= end_before + 29 * 60
    ending = revoke.release(Reservation.objects.get(pk=held.pk), actor=alice.as_actor())
    settle(ending, "ended")
    assert box.sh(way_in) == before
    assert Machine.objects.get(pk=real_pool[0].pk).condition == "ok", "the panel still gets in, and found all of it gone"
