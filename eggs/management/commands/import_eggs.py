"""`manage.py import_eggs PATH...`: files, or folders of files."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from eggs.formats.reading import MAX_BYTES
from eggs.services import FileReport, import_files

SUFFIXES = (".json", ".yaml", ".yml")
TOGETHER = 50
BAR = 30


class Command(BaseCommand):
    help = "Import eggs (Pterodactyl, Pelican, Portainer templates, Compose files) from JSON or YAML files, or from all such files in folders."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="PATH")
        parser.add_argument("--quiet", action="store_true", help="Name only what was refused or left out.")
        parser.add_argument("--no-progress", action="store_true", help="No progress bar (there is none either where no terminal is).")

    def handle(self, *args: Any, **options: Any) -> None:
        files = list(_files(options["paths"]))
        begun, totals = time.monotonic(), Counter[str]()
        bar = _Bar(len(files), shown=not options["no_progress"] and sys.stderr.isatty())
        unreadable: list[str] = []
        for report in import_files(_read(files, unreadable), together=TOGETHER):
            bar.clear()
            self._tell(report, totals, quiet=options["quiet"])
            bar.step()
        bar.clear()
        for line in unreadable:
            self.stderr.write(line)
        refused = totals["refused"] + len(unreadable)
        seconds = time.monotonic() - begun
        self.stdout.write(
            f"{len(files)} files in {seconds:.1f} s: {totals['new']} new eggs, {totals['version']} new versions, {totals['unchanged']} unchanged, "
            f"{totals['skipped']} left out, {refused} files refused."
        )
        if refused:
            raise CommandError(f"{refused} of {len(files)} files were refused.")

    def _tell(self, report: FileReport, totals: Counter[str], *, quiet: bool) -> None:
        if report.refused is not None:
            totals["refused"] += 1
            self.stderr.write(f"{report.name}: {report.refused.code} {report.refused.detail}")
        for left in report.skipped:
            totals["skipped"] += 1
            self.stderr.write(f"{report.name}: {left['name']}: {left['code']} {left['message']}")
        for taken in report.taken:
            totals[taken.outcome] += 1
            if not quiet:
                warned = f" ({', '.join(warning.code for warning in taken.warnings)})" if taken.warnings else ""
                self.stdout.write(f"{report.name}: {taken.egg.name}, {taken.outcome}{warned}")


def _files(names: list[str]) -> Iterator[Path]:
    for name in names:
        path = Path(name)
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        elif path.is_file():
            yield path
        else:
            raise CommandError(f"There is no file or folder {name}.")


def _read(files: list[Path], unreadable: list[str]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        try:
            with file.open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            unreadable.append(f"{file}: {error.strerror}")
            continue
        yield str(file), data


class _Bar:
    """`[######----] 1200/3000` on the last line of a terminal."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total, self._shown, self._done, self._drawn = total, shown and total > 1, 0, 0.0

    def step(self) -> None:
        self._done += 1
        now = time.monotonic()
        if self._shown and (now - self._drawn > 0.1 or self._done == self._total):
            self._drawn = now
            filled = BAR * self._done // self._total
            sys.stderr.write(f"\r[{'#' * filled}{'-' * (BAR - filled)}] {self._done}/{self._total}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown and self._drawn:
            sys.stderr.write("\r\x1b[K")
