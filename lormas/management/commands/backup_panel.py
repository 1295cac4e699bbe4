"""`manage.py backup_panel FILE`: the panel's own data in one file, while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from lormas.panelbackup import BackupTrouble, Deadline, back_up, digest


class Command(BaseCommand):
    help = "Writes database, root key, media and the local agent's identity to FILE (mode 0600). Files of containers are not in it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--without-key", action="store_true", help="leave the root key out; keep it elsewhere, or the secrets are lost")
        parser.add_argument("--timeout", type=float, default=3600, help="seconds for all of it")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        try:
            manifest = back_up(file, timeout_seconds=options["timeout"], with_keys=not options["without_key"])
        except BackupTrouble as trouble:
            raise CommandError(str(trouble)) from None
        self.stdout.write(f"{file}  {file.stat().st_size} bytes  sha256 {digest(file, Deadline(options['timeout']))}")
        if manifest["has_key"]:
            self.stderr.write("It holds the root key: whoever can read it can read every secret of this panel. Keep it where nobody else can.")
        else:
            self.stderr.write("The root key is not in it: keep SECRET_KEY (or FIELD_KEYS) elsewhere. Without it the encrypted columns can't be read.")
