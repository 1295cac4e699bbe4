"""`manage.py register_machines FILE...`: machine files into the pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.services import SYSTEM
from lormas.common.errors import Problem
from reservations.machinefile import MAX_BYTES, machines_of
from reservations.services.machines import FIELDS, import_machines

KNOWN = (*(name for name in FIELDS if name not in ("node", "container_id")), "password", "private_key")


class Command(BaseCommand):
    help = "Register the machines of YAML or JSON files (`machines: [{name, host, port, user, password, labels}]`), all or none of a file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="FILE")
        parser.add_argument("--localhost-as", default="", metavar="HOST", help="Replace localhost and 127.0.0.1 by HOST (a panel in a container).")
        parser.add_argument("--update", action="store_true", help="Change machines of the same name instead of refusing the file.")

    def handle(self, *args: Any, **options: Any) -> None:
        for name in options["paths"]:
            path = Path(name)
            try:
                with path.open("rb") as stream:
                    rows = machines_of(stream.read(MAX_BYTES + 1), filename=path.name)
                done = import_machines([self._row(row, index) for index, row in enumerate(rows)], actor=SYSTEM,
                                       localhost_as=options["localhost_as"], update=options["update"])  # fmt: skip
            except OSError as error:
                raise CommandError(f"{path}: {error.strerror}") from None
            except Problem as problem:
                told = [f"  {error.field}: {error.message}" for error in problem.errors]
                raise CommandError("\n".join([f"{path}: {problem.detail}", *told])) from None
            created = sum(new for _, new in done)
            self.stdout.write(f"{path}: {created} registered, {len(done) - created} changed.")

    def _row(self, row: Any, index: int) -> dict[str, Any]:
        if not isinstance(row, dict):
            raise CommandError(f"Entry {index + 1} is no map.")
        unknown = sorted(set(row) - set(KNOWN))
        if unknown:
            raise CommandError(f"Entry {index + 1} has unknown fields: {', '.join(unknown)}. Known: {', '.join(KNOWN)}.")
        fields = {key: value for key, value in row.items() if value is not None}
        for key in ("name", "host", "user", "password", "private_key", "description"):
            if key in fields and not isinstance(fields[key], bool | dict | list):
                fields[key] = str(fields[key])  # YAML takes 1234 for a number
        try:
            fields["port"] = int(fields.get("port", 22))
        except (TypeError, ValueError):
            raise CommandError(f"Entry {index + 1}: the port is no number.") from None
        fields.setdefault("user", "root")
        return fields
