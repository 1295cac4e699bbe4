"""A copy of the database and the root key, taken while people work, are the panel on another machine (SECURITY R46; docs/operations/README.md)."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.db import connection

from accounts.models import User
from audit.models import Entry
from audit.services import SYSTEM, Target, record
from nodes import registries

ROOT = Path(__file__).parents[2]
LOOK = """
import json, django
django.setup()
from django.core.management import call_command
from django.db import connection
from accounts.models import User
from audit.models import Entry
from lormas.common.crypto import decrypt
from django.conf import settings
from nodes.models import Registry
call_command("migrate", "--check", verbosity=0)
call_command("verify_audit", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("PRAGMA integrity_check")
    whole = cursor.fetchone()[0]
print(json.dumps({
    "whole": whole,
    "password": User.objects.get(username="alice").check_password("correct horse"),
    "secret": decrypt(Registry.objects.get(name="own").password, keys=settings.FIELD_KEYS),
    "entries": Entry.objects.count(),
}))
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="pg_dump is PostgreSQL's own")
def test_a_copy_taken_amid_work_and_its_key_are_the_panel_elsewhere(alice: Any, tmp_path: Path, eventually: Any) -> None:
    """R46: the journal's chain holds, passwords and encrypted columns are readable, nothing is half written."""
    User.objects.filter(pk=alice.pk).update(
        password=Argon2PasswordHasher().encode("correct horse", "a-salt-of-some-length")
    )  # tests have a quick one
    registries.create_registry(actor=SYSTEM, name="own", server="registry.example.org", username="u", password="canary-of-the-registry")
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            record("nodes.look", actor=SYSTEM, target=Target("node", "1", "n"))
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        eventually(lambda: Entry.objects.count() >= 50)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        with contextlib.closing(sqlite3.connect(connection.settings_dict["NAME"])) as here:
            with contextlib.closing(sqlite3.connect(elsewhere / "lormas.sqlite3")) as copy:
                here.backup(copy)
    finally:
        over.set()
        worker.join(60)
    (elsewhere / "secret_key").write_text(settings.SECRET_KEY)
    (elsewhere / "secret_key").chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "FIELD_KEYS", "DATABASE_URL", "DB_PATH")}
    environment = {**kept, "LORMAS_DATA": str(elsewhere), "DJANGO_SETTINGS_MODULE": "lormas.settings"}
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["entries"] >= 50
    assert (found["whole"], found["password"], found["secret"]) == ("ok", True, "canary-of-the-registry")
