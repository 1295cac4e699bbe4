"""`manage.py demo_machines up|down` (`make machines`, `make machines-down`): small SSH machines to try the pool with."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import asyncssh
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from audit.services import SYSTEM
from lormas.common.errors import Conflict, Problem
from provision import demo, image
from reservations.hostkeys import fingerprint
from reservations.models import Allocation, Machine, Reservation
from reservations.services import checks, revoke, sweep
from reservations.services.limits import claims, one_at_a_time
from reservations.services.machines import delete_machine, mark_broken, mark_fixed, register_machine
from reservations.states import OPEN, Hold

MARK = {"demo": "true"}
CLEAN_SECONDS = 90.0
"""So long the accounts on them may take to go; after that they are thrown away as they are."""


class Command(BaseCommand):
    help = "Bring up small SSH machines and register them in the pool (up), or take them away again (down)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=("up", "down"))
        parser.add_argument("--count", type=int, default=10, help="How many (default 10, at most 50).")
        parser.add_argument("--host", default="127.0.0.1", help="Host under which the panel reaches them (host.docker.internal from a container).")
        parser.add_argument("--without-engine", action="store_true", help="As chroots in namespaces, even where an engine answers (needs root).")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(settings.DATA_DIR) / "demo-machines"
        docker_host = os.environ.get("DOCKER_HOST")
        gone = self._forget()
        removed = demo.down(folder=folder, docker_host=docker_host)
        if options["act"] == "down":
            self.stdout.write(f"{removed} machines stopped, {gone} taken out of the pool.")
            return
        if not 1 <= options["count"] <= 50:
            raise CommandError("From 1 to 50 machines.")
        key = asyncssh.generate_private_key("ssh-ed25519", comment="lormas-demo")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            made = demo.up(
                options["count"], folder=folder, public_key=key.export_public_key().decode().strip(), docker_host=docker_host,
                containers=False if options["without_engine"] else None,
            )  # fmt: skip
            has_sudo = shutil.which("sudo", path=image.PATH) is not None
            for number, one in enumerate(made):
                register_machine(
                    actor=SYSTEM, name=one.name, host=options["host"], port=one.port, user="root", private_key=key.export_private_key().decode(),
                    description="A demo machine (make machines-down removes it)", allow_sudo=number % 2 == 1 and has_sudo,
                    labels={**MARK, "zone": "abc"[number % 3], **({"gpu": "t4"} if number % 5 == 0 else {})},
                )  # fmt: skip
        except (demo.CantMake, image.NoImage) as error:
            demo.down(folder=folder, docker_host=docker_host)
            raise CommandError(str(error)) from None
        except Problem as problem:
            raise CommandError(problem.detail) from None
        checks.check_due()
        fine = Machine.objects.filter(labels__demo="true", reachable=True).count()
        ports = f"{made[0].port} to {made[-1].port}"
        self.stdout.write(
            f"{len(made)} machines on {options['host']}, ports {ports}; {fine} of them are ready. Reserve them at {settings.PUBLIC_URL}/available"
        )

    def _forget(self) -> int:
        """Take the demo machines out of the pool; who holds one loses it, and it is cleaned first where it still answers."""
        found = list(Machine.objects.filter(labels__demo="true", name__startswith="demo-"))
        if not found:
            return 0
        for machine in found:  # first, or whoever waits would get what is released below
            mark_broken(machine, actor=SYSTEM, reason="It is being taken away.")
        held = Reservation.objects.filter(allocations__machine__in=found, allocations__closed_at=None, state__in=OPEN).distinct()
        for reservation in held:
            try:
                revoke.release(reservation, actor=SYSTEM, why="The demo machines were taken away.")
            except Conflict:
                continue  # ending already
        self._let_clean(found)
        for machine in found:
            try:
                with claims(), transaction.atomic():
                    one_at_a_time()  # nobody books it between being fixed and being gone
                    machine.refresh_from_db()
                    # it is thrown away in a moment: as good as installed anew
                    mark_fixed(machine, actor=SYSTEM, accept_host_key=fingerprint(machine.host_key_alarm), set_up_anew=True)
                    delete_machine(machine, actor=SYSTEM)
            except Conflict as conflict:
                raise CommandError(f"{conflict.detail} Try again in a minute.") from None
        return len(found)

    def _let_clean(self, machines: list[Machine]) -> None:
        """Remove the accounts, beside a panel that is doing the same."""
        under_work = Allocation.objects.filter(machine__in=machines, closed_at=None, hold__in=(Hold.CREATING, Hold.READY, Hold.REMOVING))
        end = time.monotonic() + CLEAN_SECONDS
        while under_work.exists() and time.monotonic() < end:
            for reservation_id in under_work.values_list("reservation_id", flat=True).distinct():
                sweep.advance(reservation_id)
            time.sleep(0.2)
