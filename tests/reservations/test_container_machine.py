"""A container of Lormas with an SSH server of its own, from its Compose file through a reservation to a real login and its end."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.conftest import wait_until
from tests.reservations.machines import IMAGE, greets, login

pytestmark = [
    pytest.mark.ssh, pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240),
]  # fmt: skip
PASSWORD = "correct horse battery"


def compose(public_key: str) -> bytes:
    """What somebody brings who wants such a machine: sshd shuts itself into a folder before anybody has signed in, so it asks for `chroot`."""
    service = {"image": IMAGE, "ports": ["22"], "cap_add": ["SYS_CHROOT"], "environment": {"AUTHORIZED_KEY": public_key}}
    return json.dumps({"services": {"ssh-machine": service}}).encode()


async def test_a_container_that_runs_an_ssh_server_is_reserved_used_and_clean_again(
    tmp_path: Path, transactional_db: None, alice: Any, root: Any, book: Any, settle: Any
) -> None:
    """Issue 7: machines made from a container of Lormas. The real engine, real panel and agent, real sshd; nothing is typed that Lormas knows."""
    import os

    from containers.models import Container
    from containers.services import NewContainer, create_container
    from eggs.services import approve_version, import_egg
    from lormas.common import clock
    from provision import image
    from reservations.models import Allocation, Machine, Reservation
    from reservations.services import checks
    from reservations.services.machines import register_machine
    from reservations.sources import filled
    from tests.e2e.conftest import in_thread, running_stack, until

    await in_thread(image.ensure, os.environ.get("DOCKER_HOST"), name=IMAGE)
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "policy.json").write_text('{"cap_add": ["SYS_CHROOT"]}', encoding="utf-8")

    def begin() -> Any:
        egg = import_egg(compose(key.export_public_key().decode().strip()), filename="compose.json").eggs[0]
        assert egg.current is not None and egg.current.needs_approval
        approve_version(egg.current, user=root, actor=root.as_actor())
        return create_container(user=root, actor=root.as_actor(), data=NewContainer(name="ssh-machine", egg=egg))[0]

    def register() -> Any:
        fields = filled(root, {"name": "of-lormas", "container": container.pk, "private_key": key.export_private_key().decode()}, new=True)
        wait_until(lambda: greets(fields["host"], fields["port"]), seconds=60)  # it runs; its server may not listen yet
        register_machine(actor=root.as_actor(), **fields)
        checks.check_due()
        return Machine.objects.get()

    def end(reservation: Any) -> None:
        past = clock.now() - timedelta(seconds=1)
        Reservation.objects.filter(pk=reservation.pk).update(starts_at=past - timedelta(hours=1), ends_at=past)
        Allocation.objects.filter(reservation=reservation).update(starts_at=past - timedelta(hours=1), ends_at=past)
        settle(reservation, "ended")

    async with running_stack(tmp_path):
        container = await in_thread(begin)
        await until(lambda: Container.objects.filter(pk=container.pk, status="running").exists(), seconds=60, what="running")
        machine = await in_thread(register)
        assert machine.usable, (machine.condition_reason, machine.reachable, machine.reach_reason)
        assert machine.container_id == container.pk
        held = await in_thread(lambda: settle(book(alice, 1, 60, password=PASSWORD), "active"))
        assert await in_thread(login, machine.port, held.username, PASSWORD) == held.username
        await in_thread(end, held)
        with pytest.raises(asyncssh.PermissionDenied):
            await in_thread(login, machine.port, held.username, PASSWORD)
        assert await in_thread(lambda: Machine.objects.get().condition) == "ok"
