"""`manage.py prune_audit --days N`: the lawful door out of the journal."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit import retention


class Command(BaseCommand):
    """Removes rows that are older, and writes that it did."""

    help = "Remove rows of the journal that are older than so many days; the chain goes on, and a row says what went."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, required=True, help=f"At least {retention.SHORTEST_DAYS}.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.stdout.write(f"Removed {retention.prune(days=options['days'])} rows.")
        except ValueError as error:
            raise CommandError(str(error)) from error
