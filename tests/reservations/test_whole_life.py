"""A reservation from its making to its end, on real machines over real SSH."""

from __future__ import annotations

import contextlib
import threading
import uuid
from datetime import timedelta
from typing import Any

import asyncssh
import pytest
from django.test import Client

from audit.models import Entry
from lormas.common import clock
from nodes.models import Operation
from reservations.models import Allocation, Machine, Reservation
from reservations.services import checks
from tests.conftest import wait_until
from tests.reservations.machines import Box, key_pair, login

pytestmark = [pytest.mark.ssh, pytest.mark.docker, pytest.mark.redis, pytest.mark.django_db(transaction=True)]
PASSWORD = "p4ss: $(reboot) 'quoted' ü"


def stay(port: int, username: str) -> None:
    """Sit on a machine until one is put out."""
    with contextlib.suppress(asyncssh.Error):
        login(port, username, PASSWORD, "sleep 611")


def over(reservation: Any) -> None:
    """Let its time be over without waiting for it."""
    past = clock.now() - timedelta(seconds=1)
    start = past - timedelta(hours=1)
    Reservation.objects.filter(pk=reservation.pk).update(starts_at=start, ends_at=past)
    Allocation.objects.filter(reservation=reservation).update(starts_at=start, ends_at=past)


def test_a_key_opens_what_a_password_does_not_and_sudo_is_the_machines_to_allow(
    alice: Any, real_pool: list[Any], boxes: list[Box], book: Any, settle: Any
) -> None:
    """R34, D14: by public key alone; root only where the reservation asked and the machine allows it; both gone at the end."""
    if not boxes[0].sh("command -v sudo"):
        pytest.skip("NOT TESTED: sudo by policy: this computer has no sudo to put on test machines (Debian: apt-get install sudo)")
    Machine.objects.filter(name="box-1").update(allow_sudo=True)
    private, public = key_pair()
    made = settle(book(alice, 2, 60, password="", public_key=public, sudo=True, machines=tuple(real_pool[:2])), "active")
    root_word = "sudo -n id -un 2>/dev/null || echo refused"
    assert login(boxes[0].port, made.username, key=private, command=root_word) == "root"
    assert login(boxes[1].port, made.username, key=private, command=root_word) == "refused"
    for secret in ("", PASSWORD):
        with pytest.raises(asyncssh.PermissionDenied):
            login(boxes[0].port, made.username, secret)
    with pytest.raises(asyncssh.PermissionDenied):
        login(boxes[0].port, made.username, key=key_pair()[0])
    login(boxes[0].port, made.username, key=private, command="sudo -n sh -c 'echo x >/tmp/of-root' && crontab -l 2>/dev/null || true")
    modest = settle(book(alice, 1, 60, password=PASSWORD, machines=(real_pool[2],)), "active")
    Machine.objects.filter(name="box-3").update(allow_sudo=True)
    assert login(boxes[2].port, modest.username, PASSWORD, root_word) == "refused", "who does not ask gets none"
    for one in (made, modest):
        over(one)
        settle(one, "ended")
    with pytest.raises(asyncssh.PermissionDenied):
        login(boxes[0].port, made.username, key=private)
    assert boxes[0].sh("ls /etc/sudoers.d") == ""
    boxes[0].sh("rm -f /tmp/of-root")


def test_reserve_log_in_run_a_command_let_it_expire_and_be_refused(
    alice: Any, real_pool: list[Any], boxes: list[Box], book: Any, settle: Any
) -> None:
    """R34: at its end the account, its processes, files and crontab are gone, and were looked for again."""
    assert all(machine.reachable and machine.host_key and machine.latency_ms for machine in real_pool)
    made = settle(book(alice, 3, 60, password=PASSWORD), "active")
    assert made.is_active
    operation = Operation.objects.get(pk=made.operation_id)
    assert (operation.status, operation.progress, operation.target_id) == ("succeeded", 100, made.pk), "what a person watched"
    for box in boxes:
        assert login(box.port, made.username, PASSWORD) == made.username
    shared = "for one in 'M 64' 'S 1' Q; do ipcmk -$one >/dev/null; done"
    leavings = f"(sleep 600 >/dev/null 2>&1 </dev/null &) ; {shared}; echo x >/tmp/mine; mkdir /dev/shm/d; echo y >/dev/shm/d/f; echo ok"
    assert login(boxes[0].port, made.username, PASSWORD, leavings) == "ok"
    objects = "cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg"
    uid = str(Allocation.objects.get(machine__name="box-1").uid)
    assert boxes[0].sh(objects).split().count(uid) == (12 if boxes[0].sh("which ipcmk") else 0), (
        "System V's objects would be the next one's of this number"
    )
    boxes[0].sh('echo "* * * * * date" >/var/spool/cron/crontabs/"$1"', made.username)
    sitting = threading.Thread(target=stay, args=(boxes[1].port, made.username), daemon=True)
    sitting.start()
    wait_until(lambda: "sleep 611" in boxes[1].sh("ps"), seconds=60)
    over(made)
    assert not made.__class__.objects.get(pk=made.pk).is_active, "the clock alone ends it"
    settle(made, "ended")
    sitting.join(60)
    assert not sitting.is_alive() and "sleep 611" not in boxes[1].sh("ps"), "whoever is signed in is put out"
    for box in boxes:
        with pytest.raises(asyncssh.PermissionDenied):
            login(box.port, made.username, PASSWORD)
        assert made.username not in box.sh("cat /etc/passwd /etc/group /etc/shadow; ls /home /var/spool/cron/crontabs /var/lib/lormas")
    assert "mine" not in boxes[0].sh("ls /tmp") and boxes[0].sh("ls /dev/shm") == ""
    assert "sleep 600" not in boxes[0].sh("ps") and uid not in boxes[0].sh(objects).split()
    assert set(Allocation.objects.values_list("hold", flat=True)) == {"clean"}
    assert Reservation.objects.get().password == ""
    assert set(Machine.objects.values_list("condition", flat=True)) == {"ok"}
    actions = list(Entry.objects.filter(target_type="reservation").order_by("id").values_list("action", flat=True))
    assert actions == ["reservations.create", "reservations.active", "reservations.expire", "reservations.end"]
    assert PASSWORD not in str(list(Entry.objects.values()))


def test_a_node_and_a_container_of_lormas_become_machines_by_the_page_and_let_people_in(
    alice: Any, root: Any, boxes: list[Box], book: Any, settle: Any, transactional_db: None
) -> None:
    """Chosen on the page, without typing an address; pinned, reserved, and used over real SSH."""
    from containers.models import Container, Port
    from nodes.models import Node

    node = Node.objects.create(name="n1", ip_address="127.0.0.1", status="ACTIVE")
    inside = Container.objects.create(name="ssh-box", owner=root, node=node, image="x", cpus=1, memory_bytes=1)
    Container.objects.create(name="no-ssh", owner=root, node=node, image="x", cpus=1, memory_bytes=1)
    Port.objects.create(container=inside, node=node, container_port=22, host_port=boxes[0].port, protocol="tcp")
    client = Client()
    client.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    page = client.get(f"/machines/new?container={inside.pk}").content.decode()
    assert f'value="container:{inside.pk}" selected' in page and f'value="node:{node.pk}"' in page and "no-ssh" not in page
    form = {"user": "root", "private_key": boxes[0].private_key, "host": "", "port": "22"}
    assert client.post("/machines/new", {**form, "name": "of-nothing"}).status_code == 400
    assert client.post("/machines/new", {**form, "name": "of-stranger", "source": f"container:{uuid.uuid4()}"}).status_code == 400
    assert client.post("/machines/new", {**form, "name": "of-box", "source": f"container:{inside.pk}"}).status_code == 302
    assert client.post("/machines/new", {**form, "name": "of-node", "source": f"node:{node.pk}", "port": str(boxes[1].port)}).status_code == 302
    checks.check_due()
    made = {machine.name: machine for machine in Machine.objects.all()}
    assert (made["of-box"].host, made["of-box"].port, made["of-box"].container_id) == ("127.0.0.1", boxes[0].port, inside.pk)
    assert (made["of-node"].host, made["of-node"].node_id) == ("127.0.0.1", node.pk)
    assert all(machine.usable and machine.host_key for machine in made.values())
    assert f"/containers/{inside.pk}" in client.get(f"/machines/{made['of-box'].pk}").content.decode()
    held = settle(book(alice, 2, 60, password=PASSWORD), "active")
    for box in boxes[:2]:
        assert login(box.port, held.username, PASSWORD) == held.username
    over(held)
    settle(held, "ended")
    for box in boxes[:2]:
        with pytest.raises(asyncssh.PermissionDenied):
            login(box.port, held.username, PASSWORD)
