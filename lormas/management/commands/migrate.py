"""`manage.py migrate`: Django's, with migrations that are noted in their own transaction (`lormas.common.steps.WholeExecutor`)."""

from __future__ import annotations

from django.core.management.commands import migrate

from lormas.common.steps import WholeExecutor

# The command looks its executor up in its module: there is no other way to give it one.
migrate.MigrationExecutor = WholeExecutor  # type: ignore[attr-defined,misc]


class Command(migrate.Command):
    """See the module."""
