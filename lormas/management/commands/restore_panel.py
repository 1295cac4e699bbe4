"""`manage.py restore_panel FILE`: an empty panel becomes the one that `backup_panel` wrote down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from lormas.panelbackup import BackupTrouble
from lormas.panelrestore import restore


class Command(BaseCommand):
    help = "Checks FILE, then puts its database, keys and media in place. The panel must not run."
    requires_system_checks: list[str] = []  # nothing needs to be there yet

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--force", action="store_true", help="also over a panel that has people in it")
        parser.add_argument("--timeout", type=float, default=3600, help="seconds for all of it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            manifest = restore(options["file"], timeout_seconds=options["timeout"], force=options["force"])
        except BackupTrouble as trouble:
            raise CommandError(str(trouble)) from None
        self.stdout.write(f"Restored: Lormas {manifest['version']} as of {manifest['created_at']}.")
        self.stdout.write("Next: `lormas manage migrate` (`lormas run` does it by itself), then start it. Agents come back by themselves.")
