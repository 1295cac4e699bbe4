"""The panel's own backup: taken while it is written to, brought back into an empty place, where people sign in and secrets open (R46)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery staple"
pytestmark = pytest.mark.redis

FIRST = """
    import threading
    from django.core.management import call_command
    from django.db import connections
    from lormas.quickstart.prepare import migrate
    migrate()
    from accounts import seeding
    from audit.services import SYSTEM, record
    from audit.models import Entry
    from containers.models import Container
    from django.conf import settings
    from nodes import registries
    from nodes.services import register_node
    seeding.seed_roles()
    root, _ = seeding.seed_superuser()
    node, token = register_node(name="local", actor=SYSTEM)
    Container.objects.create(name="hello", owner=root, node=node, image="hello:1", status="running", desired="running")
    registries.create_registry(actor=SYSTEM, name="r", server="r.example.org", username="u", password="s3cret-word")
    for name, text in (("media/faces/1.txt", "a face"), ("node/agent.json", "{{}}")):
        file = settings.DATA_DIR / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    begun, over = threading.Event(), threading.Event()

    def write() -> None:
        while not over.is_set():
            record("tests.written", actor=SYSTEM)
            begun.set()
        connections.close_all()

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(60)
    for arguments in (["{file}"], ["{file}.no-key", "--without-key"]):
        call_command("backup_panel", *arguments)
        begun.clear()
        begun.wait(60)
    over.set()
    writer.join()
    try:
        call_command("backup_panel", "{file}")
    except Exception as refused:
        print(refused)
    print(Entry.objects.filter(action="tests.written").count())
"""

RESTORE = """
    import json
    from django.core.management import CommandError, call_command
    told = []
    for arguments in {asked}:
        try:
            call_command("restore_panel", *arguments, stdout=open("/dev/null", "w"))
            told.append("")
        except CommandError as refused:
            told.append(str(refused))
    print(json.dumps(told))
"""

SECOND = """
    import json
    from django.core.management import call_command
    from django.test import Client
    from lormas.quickstart.prepare import migrate
    print(migrate())
    from audit.models import Entry
    from containers.models import Container
    from django.conf import settings
    from nodes import registries
    settings.ALLOWED_HOSTS = ["*"]
    body = {{"email": settings.SUPERUSER_EMAIL, "password": "{password}"}}
    answer = Client().post("/api/auth/sign-in", body, content_type="application/json")
    access = answer.json().get("access", "")
    seen = Client().get("/api/containers", headers={{"Authorization": f"Bearer {{access}}"}}).json()
    call_command("verify_audit")
    print(json.dumps({{
        "signed_in": answer.status_code,
        "containers": [one["name"] for one in seen["results"]],
        "secret": registries.auth_for("r.example.org/x:1", shared_only=False).password,
        "written": Entry.objects.filter(action="tests.written").count(),
        "face": (settings.DATA_DIR / "media/faces/1.txt").read_text(),
        "agent": (settings.DATA_DIR / "node/agent.json").read_text(),
    }}))
"""


class Panel:
    """A panel that is a data folder and a database; what it does is done in processes of its own."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder = folder
        kept = {name: os.environ[name] for name in ("PATH", "REDIS_URL") if name in os.environ}
        self.environment = {
            **kept, "LORMAS_DATA": str(folder), "HOME": str(folder.parent), "SUPERUSER_PASSWORD": PASSWORD, "LOG_LEVEL": "error",
            "DJANGO_SETTINGS_MODULE": "lormas.settings", "PYTHONPATH": str(ROOT), **({"DATABASE_URL": database} if database else {}),
        }  # fmt: skip

    def does(self, program: str, **words: Any) -> list[str]:
        """Lines that a program writes, run in a process of this panel's."""
        text = "import django\ndjango.setup()\n" + textwrap.dedent(program).format(**words)
        line = [sys.executable, "-c", text]
        done = subprocess.run(line, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.strip().splitlines()

    def restores(self, *asked: list[str]) -> list[str]:
        """For each list of arguments: empty where it worked, else what it says."""
        found: list[str] = json.loads(self.does(RESTORE, asked=list(asked))[-1])
        return found


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.sqlite), pytest.param("postgres", marks=pytest.mark.postgres)])
def panels(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Panel, Panel]]:
    """The one that is written down, and an empty one."""
    if request.param == "sqlite":
        yield Panel(tmp_path / "first"), Panel(tmp_path / "second")
        return
    import psycopg

    given = os.environ["DATABASE_URL"]
    names = [f"lormas_backup_{os.getpid()}_{number}" for number in (1, 2)]
    with psycopg.connect(urlsplit(given)._replace(path="/postgres").geturl(), autocommit=True) as server:  # the given one need not be there
        migrated = os.environ.get("LORMAS_TEST_TEMPLATE") or "template1"
        for name, template in zip(names, (migrated, "template1"), strict=True):  # what is brought back needs an empty one
            server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')  # type: ignore[call-overload]
        try:
            first, second = (Panel(tmp_path / name, urlsplit(given)._replace(path=f"/{name}").geturl()) for name in names)
            yield first, second
        finally:
            for name in names:
                server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # type: ignore[call-overload]


def test_it_is_taken_while_the_panel_is_written_to_and_brought_back_whole(panels: tuple[Panel, Panel], tmp_path: Path) -> None:
    """R46: one moment of the database, its chain unbroken; sign-in, secrets, the known container, media and the agent's identity are there again.
    Refused with a reason, and nothing changed: a damaged file, one that is cut, another key, a panel that has people."""
    first, second = panels
    file = tmp_path / "panel.lormas"
    *_, again, written = first.does(FIRST, file=file)
    assert "is there already" in again
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    whole = file.read_bytes()
    cut, bent = tmp_path / "cut", tmp_path / "bent"
    cut.write_bytes(whole[: len(whole) // 2])
    repacked(file, bent)
    broken, damaged, keyless, empty = second.restores([str(cut)], [str(bent)], [f"{file}.no-key"], [str(tmp_path / "none")])
    assert "can't be read" in broken and "checksum" in damaged and "another key" in keyless and "can't be read" in empty
    assert not (second.folder / "media").exists()

    done, peopled, forced = second.restores([str(file)], [str(file)], [str(file), "--force"])
    assert (done, forced) == ("", "") and "has people in it" in peopled
    if "DATABASE_URL" not in second.environment:
        assert list(second.folder.glob("lormas.sqlite3.before-restore-*")), "what was there is kept"
    pending, *_, told = second.does(SECOND, password=PASSWORD)
    found = json.loads(told)
    assert pending == "0"
    assert 0 < found.pop("written") < int(written)
    assert found == {"signed_in": 200, "containers": ["hello"], "secret": "s3cret-word", "face": "a face", "agent": "{}"}
    assert stat.S_IMODE((second.folder / "secret_key").stat().st_mode) == 0o600


def repacked(file: Path, target: Path) -> None:
    """The same archive with one byte of a part changed."""
    with tarfile.open(file) as source, tarfile.open(target, "w:gz") as copy:
        for member in source:
            stream = source.extractfile(member)
            assert stream is not None
            data = bytearray(stream.read())
            if member.name.startswith("media/"):
                data[0] ^= 1
            copy.addfile(member, io.BytesIO(bytes(data)))


def test_what_is_no_backup_or_reaches_outside_touches_nothing(tmp_path: Path) -> None:
    """R46, B07: names with `..`, absolute ones, links and files that no list names are refused before anything is written."""
    from lormas import panelrestore
    from lormas.panelbackup import BackupTrouble, Deadline

    def packed(members: list[tuple[tarfile.TarInfo, bytes]], listed: dict[str, bytes]) -> Path:
        files = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in listed.items()}
        manifest = json.dumps(
            {"format": 1, "version": "1", "database": "sqlite", "migrations": [], "key": "", "has_key": False, "files": files}
        ).encode()
        made = tmp_path / f"{len(list(tmp_path.iterdir()))}.lormas"
        with tarfile.open(made, "w:gz") as archive:
            head = tarfile.TarInfo("manifest.json")
            for member, data in [(head, manifest), *members]:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return made

    link = tarfile.TarInfo("media/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    bad = [
        packed([(tarfile.TarInfo(name), b"x")], {name: b"x"})
        for name in ("../evil", "/etc/evil", "media/../../evil", "manage.py", "media/..", "node/x")
    ]
    bad += [packed([(link, b"")], {"media/link": b""}), packed([(tarfile.TarInfo("media/unlisted"), b"x")], {}), packed([], {"secret_key": b"x"})]
    (tmp_path / "text").write_text("no archive")
    for file in [*bad, tmp_path / "text", tmp_path / "missing"]:
        folder = tmp_path / f"out-{file.name}"
        folder.mkdir()
        with pytest.raises(BackupTrouble):
            panelrestore._unpacked(file, folder, Deadline(60))
        assert not any((folder / name).exists() for name in ("evil", "link"))
