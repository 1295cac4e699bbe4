"""`manage.py schema_steps`: what of our migrations breaks a running version of the panel, or has no way back."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lormas.common import steps


class Command(BaseCommand):
    help = "Looks at each migration of ours: may old code go on while it runs, can it be taken back? Fails if not."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        found = steps.judge(steps.WholeExecutor(None))
        for name, wrong in found.items():
            for words in wrong:
                self.stderr.write(f"{name}: {words}")
        if found:
            raise CommandError("Make these in two steps (docs/operations/upgrades.md), or name them with the reason in lormas.common.steps.ALLOWED.")
