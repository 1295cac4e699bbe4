"""Test databases begin as a copy of the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import creation

from lormas.common.sqlite3 import template


class DatabaseCreation(creation.DatabaseCreation):
    """See the module."""

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        name: str = super()._create_test_db(verbosity, autoclobber, keepdb)  # type: ignore[misc]
        if not keepdb and not self.is_in_memory_db(name):
            template.begin(Path(name))
        return name

    def create_test_db(self, *args: Any, **kwargs: Any) -> str:
        name: str = super().create_test_db(*args, **kwargs)
        if not self.is_in_memory_db(name):
            template.keep(Path(name))
        return name
