"""Two hundred hostile texts in every column that people, files, agents or engines fill with words, looked at by a real browser on every page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.db import connection, models
from django.test import Client
from django.utils.html import escape

from accounts import letter_texts, letters
from accounts.models import Letter, User
from accounts.sessions import BACKEND
from lormas import assets
from lormas.common import clock
from tests import chromium as browsers
from tests.chromium import launched
from tests.nodes.rig import Panel
from tests.rights.hostile import CONTEXTS, STRINGS, harm, joined
from tests.rights.stage import Stage, methods_of, routes

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(1500)]
ROOMS: Final = ("accounts", "billing", "containers", "eggs", "nodes", "notifications", "reservations")
"""And the journal, whose rows are made with the texts in them, for nobody can change them."""
WORDS_OF_OURS: Final = {
    "accounts.User": {"password", "time_zone"},
    "accounts.Role": {"slug"},
    "accounts.AuthSession": {"session_key"},
    "accounts.ApiKey": {"digest"},
    "accounts.Letter": {"kind", "address"},
    "nodes.Node": {"runtime_kind", "protocol_version", "gateway", "instance_id"},
    "nodes.Operation": {"kind", "target_type", "target_id"},
    "nodes.Command": {"kind"},
    "nodes.NodeEvent": {"kind"},
    "nodes.JobRun": {"job"},
    "nodes.Lease": {"name", "holder"},
    "nodes.OnboardingKey": {"digest"},
    "nodes.Registry": {"password"},
    "containers.BackupDestination": {"kind", "secret"},
    "containers.Backup": {"key", "sha256"},
    "containers.Schedule": {"cron", "timezone"},
    "containers.ContainerTunnel": {"sealed_token", "state"},
    "containers.Container": {"observed", "readiness"},
    "eggs.EggVersion": {"source_format", "digest"},
    "reservations.Machine": {"password", "private_key", "host_key", "host_key_alarm"},
    "reservations.Reservation": {"password"},
}
"""Columns that hold a word of ours, an id, a digest or a sealed secret: nothing that somebody typed gets there."""


@pytest.fixture
def chromium(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # playwright's sync API has a loop running in this thread
    with launched() as browser:
        yield browser


def more_of_everything(stage: Stage) -> None:
    """Rows of kinds that the authorization matrix needs none of."""
    from containers.models import ContainerSettings, ExecRecord, LogFilter, Revision, ScheduleRun
    from nodes.models import Drain, JobRun, NodeEvent
    from reservations.models import Allocation

    now, soon = clock.now(), clock.now() + timedelta(hours=1)
    web, node, root = stage.ids["container_id"], stage.ids["node_id"], stage.cast["administrator"]
    ContainerSettings.objects.get_or_create(container_id=web)
    ExecRecord.objects.create(container_id=web, user=root, command="ls")
    LogFilter.objects.create(owner=root, name="mine")
    Revision.objects.create(container_id=web, number=1, wish={}, created_at=now)
    ScheduleRun.objects.create(schedule_id=stage.ids["schedule_id"], key="x", state="failed")
    NodeEvent.objects.create(node_id=node, time=now, kind="status", level="info")
    JobRun.objects.create(job="nodes.sync", started_at=now, status="failed")
    Drain.objects.create(node_id=node, state="running", deadline=soon)
    Allocation.objects.create(reservation_id=stage.ids["reservation_id"], machine_id=stage.ids["machine_id"], starts_at=now, ends_at=soon)
    Authenticator.objects.create(user=root, type="webauthn", data={"name": joined(), "credential": {}}, created_at=now)
    SocialAccount.objects.create(user=root, provider="github", uid="1", extra_data={"login": joined(), "name": joined(), "email": joined()})


def spoil() -> set[str]:
    """The texts into every column; returns which. PostgreSQL holds columns to their lengths: there each gets as many as fit, another first."""
    spoiled, begin = set(), 0
    bounded = connection.vendor != "sqlite"
    for model in apps.get_models():
        if model._meta.app_label not in ROOMS:
            continue
        kept = WORDS_OF_OURS.get(model._meta.label, set())
        columns = [
            field for field in model._meta.concrete_fields
            if isinstance(field, models.CharField | models.TextField) and not field.choices and not field.primary_key and field.name not in kept
        ]  # fmt: skip
        rows: Any = model._base_manager.all()
        for row in rows:
            wish: dict[str, Any] = {}
            for field in columns:
                begin += 7
                limit = field.max_length if bounded else None
                mark = f"{begin} " if field.unique else ""
                wish[field.name] = mark + joined(limit - len(mark) if limit else None, begin=begin)
                spoiled.add(f"{model._meta.label}.{field.name}")
            names = {field.name for field in model._meta.concrete_fields}
            for name in {"labels", "tags"} & names:
                wish[name] = {joined(60): joined(60, begin=9)} if isinstance(getattr(row, name), dict) else [joined(60)]
            if wish:
                rows.filter(pk=row.pk).update(**wish)
    return spoiled


def entries(stage: Stage) -> None:
    """The journal: of each kind of object one row whose words are theirs."""
    from audit.models import Entry

    for kind, name in (("container", "container_id"), ("node", "node_id"), ("cluster", "cluster_id"), ("egg", "egg_id"), ("machine", "machine_id"),
                       ("user", "user_id"), ("role", "role_id")):  # fmt: skip
        for action in ("containers.update", joined(60, begin=11)):
            Entry.objects.create(
                time=clock.now(), actor_kind="user", actor_label=joined(250, begin=3), action=action[:64], target_type=kind,
                target_id=str(stage.ids[name]), target_label=joined(250, begin=5), message=joined(), before={"name": joined()},
                after={joined(80): joined(), "labels": {joined(60): joined(60)}},
            )  # fmt: skip


def every_letter(user: User) -> dict[str, str]:
    """The HTML of each kind, to somebody whose name and whose browser say such things."""
    found = {}
    for kind in letter_texts.TEXTS:
        User.objects.filter(pk=user.pk).update(must_verify_email=kind == "verify", password="!" if kind == "invite" else "x", verified_email="")
        user.refresh_from_db()
        told = {
            "from": joined(),
            "time": joined(60),
            "what": joined(),
            "by": joined(),
            "machines": joined(),
            "ends_at": clock.rfc3339(clock.now() + timedelta(hours=1)),
        }
        letter = Letter(kind=kind, user=user, values=told, address="x@example.org" if kind == "email_change" else "")
        found[kind] = str(letters._message(letter).alternatives[0][0])
    return found


@pytest.fixture
def panel(transactional_db: None, tmp_path: Any) -> Iterator[Panel]:
    assets.build()
    process = Panel(log=tmp_path / "panel.log", RATE_LIMIT_USER="1000000/1m").start()
    yield process
    process.stop()


def test_each_of_the_strings_would_be_seen(chromium: Any) -> None:
    """H01: this look finds every one of them where a page trusts it, so it proves something where it finds none."""
    page = chromium.new_page()
    assert len(set(STRINGS)) >= 200
    missed = [text for text in STRINGS if not any(harm(page, context.format(text)) for context in CONTEXTS)]
    assert not missed
    assert not [text for text in STRINGS for context in CONTEXTS[:3] if harm(page, context.format(escape(text)))], "and none where it is escaped"


def test_two_hundred_texts_stay_text_wherever_they_are_shown(panel: Panel, stage: Stage, chromium: Any, settings: Any, record_property: Any) -> None:
    """H01: every column of words x every page, with its scripts running, no policy in the way, and every letter."""
    more_of_everything(stage)
    spoiled = spoil()
    entries(stage)
    assert len(spoiled) > 80
    root = User.objects.get(pk=stage.cast["administrator"].pk)
    signed_in = Client()
    signed_in.force_login(root, backend=BACKEND)
    context = chromium.new_context(bypass_csp=True, viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.add_init_script("window.pwn = () => { window.__pwned = true }; window.alert = window.pwn")
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": signed_in.cookies[settings.SESSION_COOKIE_NAME].value, "url": panel.url}
    context.add_cookies([cookie])
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.dismiss())
    wrong: list[str] = []
    opened, shown = 0, 0
    for path, view in routes().items():
        if "get" not in methods_of(view) or path in ("/logout",):
            continue
        address = panel.url + stage.address(path)
        answer = context.request.get(address, headers={"Accept": "text/html"}, max_redirects=0)
        if "text/html" not in answer.headers.get("content-type", "") or (answer.status >= 500 and answer.status not in (503, 504)):
            if answer.status == 500:
                wrong.append(f"{path}: 500")
            continue
        if answer.status in (301, 302, 405):
            continue
        text = answer.text()
        opened += 1
        shown += "pwn" in text
        wrong += [f"{path}: {one}" for one in harm(page, text)]
        if not path.startswith("/api"):
            browsers.opened(page, address)
            page.wait_for_timeout(50)
            wrong += [f"{path} (open): {one}" for one in harm(page, None)]
    page.goto("about:blank")
    for kind, html in every_letter(root).items():
        assert "pwn" in html, kind
        wrong += [f"letter {kind}: {one}" for one in harm(page, html)]
    record_property("pages", f"{opened} opened, {shown} of them show the texts, {len(spoiled)} columns")
    assert not wrong, "\n".join(sorted(set(wrong)))
    assert opened > 150 and shown > 100, (opened, shown)
