"""Django's SQLite backend; test databases begin as a copy of the template, and a kept connection belongs to the file that is there now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base

from lormas.common.sqlite3.creation import DatabaseCreation


class DatabaseWrapper(base.DatabaseWrapper):
    """See the module."""

    creation_class = DatabaseCreation
    _opened: tuple[int, int] | None = None

    def _file(self) -> tuple[int, int] | None:
        """Which file has our name. (A look at its entry only: to open and close it would let go of SQLite's locks.)"""
        try:
            found = Path(str(self.settings_dict["NAME"])).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        made = super().get_new_connection(conn_params)
        self._opened = self._file()
        return made

    def close_if_unusable_or_obsolete(self) -> None:
        """Also where another file was put in the place of ours."""
        if self.connection is not None and not self.in_atomic_block and self._opened != self._file():
            self.close()
            return
        super().close_if_unusable_or_obsolete()
