"""`manage.py rotate_secrets`: encrypted columns move to the newest key, so that an old one may be taken out of the settings."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from lormas import sealed


class Command(BaseCommand):
    help = "Encrypts every secret in the database anew under the first of FIELD_KEYS (which come from SECRET_KEY where they are not set)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="change nothing; fails while something is under an older key")

    def handle(self, *args: Any, **options: Any) -> None:
        check = bool(options["check"])
        found = sealed.look(write=not check)
        for column, counts in found.items():
            if counts.current or counts.moved or counts.unreadable:
                word = "under an older key" if check else "moved to the newest key"
                lost = f", {counts.unreadable} unreadable" if counts.unreadable else ""
                self.stdout.write(f"{column}: {counts.current} under the newest key, {counts.moved} {word}{lost}")
        unreadable = sum(counts.unreadable for counts in found.values())
        if unreadable:
            raise CommandError(f"{unreadable} can't be read with any key that is set: add the one they were made under to FIELD_KEYS, as the last.")
        if check and any(counts.moved for counts in found.values()):
            raise CommandError("Older keys are still needed: run rotate_secrets without --check.")
        self.stdout.write("All are under the newest key.")
