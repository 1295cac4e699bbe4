"""`manage.py import_eggs PATH...`: files, or folders of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from eggs.formats import EggRefused
from eggs.formats.reading import MAX_BYTES
from eggs.services import import_egg

SUFFIXES = (".json", ".yaml", ".yml")


class Command(BaseCommand):
    help = "Import eggs from JSON or YAML files, or from all such files in folders."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="PATH")

    def handle(self, *args: Any, **options: Any) -> None:
        files: list[Path] = []
        for name in options["paths"]:
            path = Path(name)
            if path.is_dir():
                files += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            elif path.is_file():
                files.append(path)
            else:
                raise CommandError(f"There is no file or folder {name}.")
        refused = 0
        for file in files:
            try:
                with file.open("rb") as stream:
                    result = import_egg(stream.read(MAX_BYTES + 1), filename=file.name)
            except EggRefused as error:
                refused += 1
                self.stderr.write(f"{file}: {error.code} {error.detail}")
                continue
            except OSError as error:
                refused += 1
                self.stderr.write(f"{file}: {error.strerror}")
                continue
            warned = f" ({', '.join(warning.code for warning in result.warnings)})" if result.warnings else ""
            self.stdout.write(f"{file}: {result.eggs[0].name}{warned}")
        self.stdout.write(f"{len(files) - refused} imported, {refused} refused.")
        if refused:
            raise CommandError(f"{refused} of {len(files)} files were refused.")
