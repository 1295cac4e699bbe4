"""Secrets of machines, registries, nodes, tunnels, backups and containers, planted by every door that takes one, by good requests and by bad ones."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog
from django.core.management import call_command
from kombu.serialization import dumps

from lormas import celery as program
from lormas.common import clock, ratelimit
from nodes.models import Command
from tests.accounts.test_canaries import database, found_in
from tests.console.conftest import make_node
from tests.rights.stage import Stage, methods_of, routes

pytestmark = [pytest.mark.redis, pytest.mark.timeout(300)]
PLAIN_BY_NATURE = {
    "containers.Container": {"a container's own variable"},
    "containers.Revision": {"a container's own variable"},
}
"""What a container needs in its environment stands in its row, for its editors; all else holds it masked, encrypted or not at all."""
TOLD_TO_EDITORS = {"a container's own variable"}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the panel's own formatter writes, at the loudest level."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(next(h.formatter for h in logging.getLogger().handlers if isinstance(h.formatter, structlog.stdlib.ProcessorFormatter)))
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    handler.addFilter(lambda record: not record.name.startswith("django.db"))
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(before)


class Planter:
    """Sends each secret where it belongs, and where it is refused; keeps what was answered."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client = stage.clients["administrator"]
        self.told: dict[str, str] = {}
        self.answers: list[tuple[str, str, set[str]]] = []

    def secret(self, name: str) -> str:
        self.told[name] = self.told.get(name) or f"canary-{len(self.told)}-of-{name.replace(' ', '-')}"
        return self.told[name]

    def send(self, method: str, path: str, body: dict[str, Any], *, expected: int, tells: str = "", name: str = "") -> Any:
        """`tells`: the field that tells a new secret here and nowhere else; it is kept under `name`."""
        answer = getattr(self.client, method)(
            path, data=json.dumps(body), content_type="application/json", headers={"Idempotency-Key": f"{len(self.answers)}"}
        )
        assert answer.status_code == expected, (path, answer.status_code, answer.content)
        allowed = set()
        if tells:
            self.told[name], allowed = answer.json()[tells], {name}
        self.answers.append((f"{method} {path}", answer.content.decode(), allowed))
        return answer.json() if answer.content else {}

    def refused(self, method: str, path: str, body: dict[str, Any], *, expected: int = 400) -> None:
        self.send(method, path, {**body, "no such field": 1}, expected=expected)


def plant(stage: Stage) -> Planter:
    to = Planter(stage)
    make_node("alive", capabilities=["tunnel"], port_first=30000, port_last=30100)
    web = f"/api/containers/{stage.ids['container_id']}"
    machine = {"name": "m-2", "host": "192.0.2.2", "user": "root", "password": to.secret("machine's password")}
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + to.secret("machine's key") + "\n-----END OPENSSH PRIVATE KEY-----"
    to.refused("post", "/api/machines", machine)
    to.send("post", "/api/machines", machine, expected=201)
    to.send("post", "/api/machines", {**machine, "name": "m-3", "private_key": key}, expected=400)
    to.send("patch", f"/api/machines/{stage.ids['machine_id']}", {"password": to.secret("another password of a machine")}, expected=200)
    registry = {"name": "mine", "server": "registry.example.net", "username": "u", "password": to.secret("registry's password")}
    to.refused("post", "/api/registries", registry)
    to.send("post", "/api/registries", registry, expected=201)
    place = {
        "name": "s3",
        "kind": "s3",
        "bucket": "b",
        "endpoint": "http://127.0.0.1:9",
        "access_key": "AK",
        "secret_key": to.secret("key of a store"),
    }
    to.refused("post", "/api/backup-destinations", place)
    to.send("post", "/api/backup-destinations", place, expected=201)
    to.told["tunnel's token"] = "eyJhIjoiY2FuYXJ5LW9mLWEtdHVubmVsIiwidCI6IjEifQ=="
    to.refused("patch", f"{web}/settings", {"tunnel_token": to.told["tunnel's token"]})
    to.send("patch", f"{web}/settings", {"tunnel_token": to.told["tunnel's token"]}, expected=200)
    env = {"DB_PASSWORD": to.secret("a container's own variable")}
    wish = {
        "name": "app", "image": "registry.example.net/app:1", "env": env,
        "registry": {"username": "u", "password": to.secret("password of one pull")},
    }  # fmt: skip
    to.refused("post", "/api/containers", wish)
    made = to.send("post", "/api/containers", wish, expected=201)
    to.send("patch", f"/api/containers/{made['id']}", {"env": {**env, "MODE": "quiet"}, "description": "again"}, expected=200)
    to.send("post", "/api/nodes", {"name": "box-9"}, expected=201, tells="token", name="node's token")
    to.send("patch", f"/api/nodes/{stage.ids['node_id']}/token", {}, expected=200, tells="token", name="node's next token")
    soon = clock.rfc3339(clock.now() + timedelta(hours=1))
    to.send("post", "/api/onboarding-keys", {"name": "rack", "expires_at": soon}, expected=201, tells="key", name="onboarding key")
    booking = {"count": 1, "duration_minutes": 5, "queue": True, "reservation_password": to.secret("reservation's password")}
    to.refused("post", "/api/reservations", booking)
    to.send("post", "/api/reservations", booking, expected=201)
    to.send("post", "/api/users", {"email": "other@example.org"}, expected=201, tells="password", name="password that was made here")
    person = {"email": "new@example.org", "password": to.secret("password of a new account")}
    to.refused("post", "/api/users", person)
    to.send("post", "/api/users", person, expected=201)
    return to


def test_no_secret_of_the_fleet_is_told_but_where_it_must_be(
    stage: Stage, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    """I01, I02, I03: canaries over answers, database, Redis, what goes to workers, the log, exports of the journal, and every page
    and GET of the API."""
    sent: list[str] = []
    monkeypatch.setattr(program.app, "send_task", lambda task, args=(), **options: sent.append(f"{task} {dumps(args, serializer='json')}"))
    with django_capture_on_commit_callbacks(execute=True):
        to = plant(stage)
    told = to.told
    assert len(told) >= 14
    for where, answer, allowed in to.answers:
        assert found_in(answer, told) <= allowed | TOLD_TO_EDITORS, where
    seen_in_rows = set()
    for label, dump in database():
        inside = found_in(dump, told)
        assert inside <= PLAIN_BY_NATURE.get(label, set()), f"{label}: {inside}"
        seen_in_rows |= inside
    assert seen_in_rows == {"a container's own variable"}, "it is looked for as it is written"
    assert Command.objects.exists() and sent and not found_in(" ".join(sent), told)
    redis = ratelimit.client()
    for key in redis.scan_iter(count=1000):
        value = redis.dump(key) or b""
        assert not found_in(f"{key!r} {value!r}", told), key
    assert "/api/machines" in log.getvalue() and not found_in(log.getvalue(), told)
    told["a key of before"] = stage.bare_key
    exports = [stage.clients["administrator"].get(f"/api/audit?format={style}") for style in ("csv", "jsonl")]
    for export in exports:
        text = b"".join(export).decode()
        assert "machine" in text and not found_in(text, told)
    page, opened = stage.pages("administrator"), 0
    for path, view in routes().items():
        if "get" in methods_of(view):
            client = stage.clients["administrator"] if path.startswith("/api") else page()
            answer = client.get(stage.address(path), headers={"Accept": "*/*"})
            text = "" if getattr(answer, "streaming", False) else answer.content.decode(errors="replace")
            opened += bool(text)
            assert found_in(text, told) <= TOLD_TO_EDITORS, path
    assert opened > 250
    out = io.StringIO()
    call_command("dumpdata", "audit", stdout=out)
    assert not found_in(out.getvalue(), told)
