"""`manage.py verify_audit`: was the journal touched?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit import chain
from audit.models import Entry, Seal

SHOWN = 50


class Command(BaseCommand):
    """Reads the whole journal; exit code 1 where a row was changed, removed or inserted."""

    help = "Check that no row of the journal was changed, removed or inserted. Prints the end of the chain: keep it elsewhere, for --head."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--head", default="", help="NUMBER:DIGEST that an earlier run printed: it must still be part of the chain.")
        parser.add_argument("--no-seal", action="store_true", help="Don't seal first what is genuine and waits for its seal.")

    def handle(self, *args: Any, **options: Any) -> None:
        known = None
        if options["head"]:
            number, _, digest = options["head"].partition(":")
            if not number.isdigit() or not digest:
                raise CommandError("--head takes what an earlier run printed: NUMBER:KEY:DIGEST.")
            known = chain.Head(int(number), digest)
        if not options["no_seal"]:
            chain.seal_pending(everything=True)
        wrong = 0
        for finding in chain.verify(known=known):
            wrong += 1
            if wrong <= SHOWN:
                self.stderr.write(f"{finding.kind}: {finding.detail}")
        if wrong:
            more = f" ({wrong - SHOWN} more not shown)" if wrong > SHOWN else ""
            raise CommandError(f"The journal was touched: {wrong} findings{more}.", returncode=1)
        self.stdout.write(f"The journal is whole: {Entry.objects.count()} rows, {Seal.objects.count()} seals.")
        self.stdout.write(f"Its end now: {chain.head()}")
