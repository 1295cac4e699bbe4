"""Django's SQLite backend; test databases begin as a copy of the template."""

from __future__ import annotations

from django.db.backends.sqlite3 import base

from lormas.common.sqlite3.creation import DatabaseCreation


class DatabaseWrapper(base.DatabaseWrapper):
    """See the module."""

    creation_class = DatabaseCreation
