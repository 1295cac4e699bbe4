"""`manage.py settings_table [--check]`: writes docs/operations/settings.md from `lormas.env.VARIABLES`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from lormas.env import VARIABLES, Variable

HEAD = """# Settings

Every setting is an environment variable. Each can also be given as `NAME_FILE`, the path of a file that holds the value (for secret mounts),
under its aliases, or as a `NAME=value` line in a `.env` file of the working folder; the real environment wins. A wrong value stops the start
with one sentence. Secret values are never printed.

This table is generated: `lormas manage settings_table`.

| variable | default | what |
|---|---|---|
"""


def _default(variable: Variable) -> str:
    value = variable.default
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value >= 1024**2 and value % 1024**2 == 0:
        return f"`{value // 1024**2}m`"
    if isinstance(value, tuple):
        return f"`{value[0]}/{value[1]}`"  # as it is given
    return f"`{value}`"


def table() -> str:
    """The whole page."""
    rows = []
    for variable in VARIABLES:
        notes = [variable.help.replace("|", "\\|")]
        if variable.aliases:
            notes.append("Also: " + ", ".join(f"`{alias}`" for alias in variable.aliases) + ".")
        if variable.secret:
            notes.append("Secret.")
        rows.append(f"| `{variable.name}` | {_default(variable)} | {' '.join(notes)} |")
    return HEAD + "\n".join(rows) + "\n"


class Command(BaseCommand):
    help = "Writes docs/operations/settings.md; --check only looks whether it is up to date."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = settings.BASE_DIR / "docs" / "operations" / "settings.md"
        wanted = table()
        if file.exists() and file.read_text(encoding="utf-8") == wanted:
            return
        if options["check"]:
            raise CommandError("docs/operations/settings.md is out of date: run `lormas manage settings_table`")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(wanted, encoding="utf-8")
