"""The commands around the panel: settings table, reset-password, seed."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from lormas.env import VARIABLES
from lormas.management.commands.settings_table import table


def test_the_settings_table_in_the_documents_is_the_one_of_the_code() -> None:
    call_command("settings_table", "--check")
    page = table()
    for variable in VARIABLES:
        assert f"| `{variable.name}` |" in page


@pytest.mark.django_db
def test_a_reset_password_is_shown_once_and_ends_what_was_open(alice) -> None:
    from audit.models import Entry

    before = alice.token_generation
    out = StringIO()
    call_command("reset_password", "Alice@Example.org", stdout=out)
    alice.refresh_from_db()
    password = out.getvalue().split("password: ")[1].split()[0]
    assert alice.check_password(password)
    assert alice.must_change_password
    assert alice.token_generation == before + 1
    entry = Entry.objects.get(action="accounts.reset_password")
    assert password not in str(entry.after) + entry.message


@pytest.mark.django_db
def test_no_such_account_is_said_and_changes_nothing(alice) -> None:
    with pytest.raises(CommandError, match="there is no account"):
        call_command("reset_password", "nobody@example.org")
