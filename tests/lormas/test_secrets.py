"""Keys of the panel: none that can be guessed on a panel that others reach, and all can be changed without losing what they keep."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from accounts.models import User
from audit.models import Entry
from lormas import checks, sealed
from lormas.common.crypto import WrongKey, decrypt, derive_key, encrypt
from nodes import tokens as node_tokens
from nodes.models import Node, Registry
from reservations.models import Machine

GOOD = "nobody-guesses-this-one-of-forty-characters"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("address", "name", "value", "found"),
    [
        ("https://panel.example.org", "SECRET_KEY", "short", ["lormas.E003"]),
        ("http://192.0.2.7:8000", "SECRET_KEY", "short", ["lormas.E003"]),
        ("https://panel.example.org", "JWT_USER_KEY", "x" * 31, ["lormas.E003"]),
        ("https://panel.example.org", "FIELD_KEYS", [GOOD, "old"], ["lormas.E003"]),
        ("https://panel.example.org", "SECRET_KEY", GOOD, []),
        ("http://127.0.0.1:8000", "SECRET_KEY", "short", []),
        ("http://localhost:8000", "SECRET_KEY", "short", []),
        ("http://127.0.0.1:8000", "SECRET_KEY", "your-super-secret-key-here", ["lormas.E002"]),
        ("http://127.0.0.1:8000", "JWT_USER_KEY", "change-me", ["lormas.E002"]),
        ("http://127.0.0.1:8000", "SUPERUSER_PASSWORD", "ChangeMe123!", ["lormas.E002"]),
        ("http://127.0.0.1:8000", "SUPERUSER_PASSWORD", "a phrase of one's own", []),
    ],
)
def test_secrets_that_others_know_or_guess_stop_the_start(settings: Any, address: str, name: str, value: Any, found: list[str]) -> None:
    """E05."""
    settings.DEBUG, settings.PUBLIC_URL = False, address
    settings.SECRET_KEY = settings.JWT_USER_KEY = GOOD
    settings.FIELD_KEYS = [GOOD]
    setattr(settings, name, value)
    assert [one.id for one in (*checks.sample_secrets(None), *checks.short_secrets(None))] == found


def test_the_first_step_of_every_start_refuses(tmp_path: Path) -> None:
    """E05: what the checks find, `migrate` says, and nothing is made."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    env = {**kept, "PUBLIC_URL": "https://panel.example.org", "SECRET_KEY": "short", "LORMAS_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "manage.py", "migrate"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "SECRET_KEY is shorter than 32 characters" in done.stderr
    assert "short\n" not in done.stderr, "and is not printed"
    with sqlite3.connect(tmp_path / "lormas.sqlite3") as made:
        assert made.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,), "no table"


def test_a_new_key_reads_what_the_old_one_wrote() -> None:
    """I08."""
    old, new = derive_key("old root", "fields"), derive_key("new root", "fields")
    kept = encrypt("a secret", keys=[old])
    assert decrypt(kept, keys=[new, old]) == "a secret"
    assert decrypt(encrypt("fresh", keys=[new, old]), keys=[new]) == "fresh", "the first one writes"
    with pytest.raises(WrongKey):
        decrypt(kept, keys=[new])


def test_former_keys_keep_fields_and_agents_good(db: None, settings: Any, tmp_path: Path) -> None:
    """I08: SECRET_KEY_FALLBACKS."""
    node = Node.objects.create(name="n1")
    token = node_tokens.issue(node)
    settings.JWT_AGENT_KEY, settings.JWT_AGENT_FALLBACK_KEYS = derive_key("new root", "jwt-agent"), []
    with pytest.raises(node_tokens.BadToken):
        node_tokens.node_of(token)
    settings.JWT_AGENT_FALLBACK_KEYS = [derive_key(django_settings.SECRET_KEY, "jwt-agent")]
    assert node_tokens.node_of(token) == node
    code = "from lormas import settings as s; print(len(s.FIELD_KEYS), len(s.JWT_AGENT_FALLBACK_KEYS), s.SECRET_KEY_FALLBACKS)"
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    env = {**kept, "SECRET_KEY": GOOD, "SECRET_KEY_FALLBACKS": "one,two", "LORMAS_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "3 2 ['one', 'two']"


SEALING = {
    "accounts/adapters.py", "accounts/second_factor.py", "audit/idempotency.py", "containers/services/create.py",
    "containers/services/destinations.py", "containers/services/tunnels.py", "nodes/commands.py", "nodes/fleet_pages.py", "nodes/registries.py",
    "nodes/views.py", "reservations/secrets.py",
    "lormas/sealed.py", "lormas/common/crypto.py",
}  # fmt: skip


def test_no_column_is_forgotten_when_keys_change() -> None:
    """I08: whoever begins to encrypt somewhere adds the column to `lormas.sealed` (or says there why not), and the file here."""
    rooms = ("accounts", "audit", "billing", "containers", "eggs", "lormas", "nodes", "notifications", "reservations")
    files = {path for room in rooms for path in (ROOT / room).rglob("*.py")}
    assert {str(path.relative_to(ROOT)) for path in files if re.search(r"\bencrypt\(", path.read_text(encoding="utf-8"))} == SEALING
    for column in sealed.COLUMNS:
        apps.get_model(column.model)._meta.get_field(column.field)


def test_secrets_made_under_the_old_key_move_to_the_new_one_by_command(db: None, settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """I08: SECRET_KEY changes, its former value goes into SECRET_KEY_FALLBACKS, `rotate_secrets` runs, and the former one may go."""
    old, new = derive_key("old root", "fields"), derive_key("new root", "fields")
    settings.FIELD_KEYS = [old]
    person = User.objects.create(username="ann", email="ann@example.org")
    factor = Authenticator.objects.create(user=person, type="totp", data={"secret": encrypt("totp", keys=[old]), "last_step": 7})
    Registry.objects.create(server="r.example.org", username="u", password=encrypt("pull", keys=[old]))
    machine = Machine.objects.create(name="m", host="192.0.2.1", user="root", password=encrypt("root pw", keys=[old]))

    settings.FIELD_KEYS = [new, old]
    assert decrypt(machine.password, keys=settings.FIELD_KEYS) == "root pw", "readable before anything is moved"
    with pytest.raises(CommandError, match="Older keys are still needed"):
        call_command("rotate_secrets", "--check")
    assert Machine.objects.get().password == machine.password, "a check changes nothing"
    call_command("rotate_secrets")
    call_command("rotate_secrets", "--check")
    assert "mfa.Authenticator.data.secret: 1 under the newest key, 0 under an older key" in capsys.readouterr().out
    assert Entry.objects.get(action="system.rotate_secrets").after["rows"] == 3

    settings.FIELD_KEYS = [new]
    factor.refresh_from_db()
    assert factor.data == {"secret": factor.data["secret"], "last_step": 7}, "what stands beside it stays"
    assert decrypt(factor.data["secret"], keys=[new]) == "totp"
    assert decrypt(Machine.objects.get().password, keys=[new]) == "root pw"
    assert decrypt(Registry.objects.get().password, keys=[new]) == "pull"
    assert sealed.rotate() == {"moved": 0, "unreadable": 0}

    settings.FIELD_KEYS = ["neither"]
    with pytest.raises(CommandError, match="3 can't be read"):
        call_command("rotate_secrets")
    assert decrypt(Machine.objects.get().password, keys=[new]) == "root pw", "what can't be read is left as it is"


def test_a_secret_that_is_wiped_meanwhile_stays_wiped(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FIELD_KEYS = ["new", "old"]
    machine = Machine.objects.create(name="m", host="192.0.2.1", user="root", password=encrypt("root pw", keys=["old"]))
    real = sealed._is_current

    def rival(kept: str) -> bool:
        Machine.objects.update(password="")
        return real(kept)

    monkeypatch.setattr(sealed, "_is_current", rival)
    assert sealed.rotate() == {"moved": 0, "unreadable": 0}
    machine.refresh_from_db()
    assert machine.password == ""
