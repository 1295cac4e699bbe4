"""What people may ask of backups and destinations; no node takes part (tests/e2e/test_backups.py has the whole chain)."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as panel
from django.db import transaction
from django.test import Client

from audit.models import Entry
from audit.services import SYSTEM
from containers.models import Backup, BackupDestination, BackupPolicy, BackupWork, Container, ContainerUserGrant
from containers.services import backupanew, backups, backupwork, power, remove
from containers.services import destinations as places
from containers.stores import StoreFault, store_of
from lormas.common import clock
from lormas.common.errors import Conflict, Locked, Refused
from nodes.models import Operation

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(db: None, tmp_path: Path) -> BackupDestination:
    return places.add(name="disk", kind="local", given={"folder": str(tmp_path / "kept")}, is_default=True, actor=SYSTEM)


@pytest.fixture
def good(running: Container, place: BackupDestination, alice: Any) -> Any:
    """`good(hours_ago=...)`: a finished backup whose archive is there."""

    def make(*, hours_ago: float = 0, content: bytes = b"archive", **fields: Any) -> Backup:
        made, operation = backups.create_backup(running, user=alice, actor=alice.as_actor())
        BackupWork.objects.filter(operation=operation).update(is_open=False)
        draft = store_of(place).begin(made.key)
        draft.write(content)
        draft.commit()
        import hashlib

        Backup.objects.filter(pk=made.pk).update(
            state="good",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            created_at=clock.now() - timedelta(hours=hours_ago),
            **fields,
        )
        made.refresh_from_db()
        return made

    return make


def at(container: Any, *more: Any) -> str:
    return "/".join(["/api/containers", str(container.pk), "backups", *map(str, more)])


def test_one_is_asked_for_and_runs_as_an_operation(alice_api: Any, running: Container, place: BackupDestination) -> None:
    answer = alice_api.post(at(running), {"name": "before the update", "ignore": ["*.log", " "]}, format="json")
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert (body["backup"]["state"], body["backup"]["ignore"], body["operation"]["kind"]) == ("pending", ["*.log"], "container.backup")
    assert body["backup"]["operation"] == body["operation"]["id"] and answer["Location"].endswith(body["operation"]["id"])
    again = alice_api.post(at(running), {}, format="json")
    assert (again.status_code, again.json()["operation"]) == (423, body["operation"]["id"])
    assert alice_api.post(at(running), {"ignore": ["x" * 300]}, format="json").status_code == 400


def test_another_persons_and_another_containers_are_404(alice_api: Any, bob_api: Any, running: Container, make: Any, agent: Any, good: Any) -> None:
    """D02, D03"""
    made = good()
    other, _ = make("other")
    agent.done(other, "running")
    for verb, more in (("get", ()), ("patch", ()), ("delete", ()), ("post", ("restore",)), ("post", ("verify",)), ("get", ("download",))):
        assert getattr(bob_api, verb)(at(running, made.pk, *more)).status_code == 404, more
        assert getattr(alice_api, verb)(at(other, made.pk, *more)).status_code == 404, more
    assert alice_api.get(at(running, made.pk)).json()["state"] == "good"


def test_restoring_and_downloading_need_rights_of_their_own(bob: Any, root: Any, running: Container, good: Any) -> None:
    """C13: whoever may make backups may not therefore replace or read files, nor stop what runs."""
    from tests.rights.conftest import client_of, give

    def grant(*rights: str) -> Any:
        ContainerUserGrant.objects.filter(user=bob).delete()
        give(root, running, bob, *rights)
        return client_of(bob)

    made = good()
    bob_api = grant("containers.view", "containers.backups")
    assert bob_api.get(at(running)).json()["count"] == 1
    assert bob_api.post(at(running, made.pk, "restore"), {}, format="json").status_code == 403
    assert bob_api.get(at(running, made.pk, "download")).status_code == 403
    assert bob_api.post(at(running), {"stop_first": True}, format="json").status_code == 403
    bob_api = grant("containers.view", "containers.backups", "containers.restore")
    refused = bob_api.post(at(running, made.pk, "restore"), {}, format="json")
    assert refused.status_code == 403 and "stop" in refused.json()["detail"]
    bob_api = grant("containers.view", "containers.backups", "containers.restore", "containers.stop", "containers.files")
    assert bob_api.post(at(running, made.pk, "restore"), {"start": False}, format="json").status_code == 202
    assert bob_api.get(at(running, made.pk, "download")).status_code == 200


def test_an_archive_is_downloaded_whole_or_in_parts(alice_api: Any, running: Container, good: Any) -> None:
    made = good(content=b"0123456789")
    whole = alice_api.get(at(running, made.pk, "download"))
    assert b"".join(whole) == b"0123456789" and "attachment" in whole["Content-Disposition"]
    part = alice_api.get(at(running, made.pk, "download"), HTTP_RANGE="bytes=2-4")
    assert (part.status_code, b"".join(part), part["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert alice_api.get(at(running, made.pk, "download"), HTTP_RANGE="bytes=20-").status_code == 416


def test_a_locked_one_is_neither_deleted_nor_rotated_away(alice_api: Any, running: Container, good: Any) -> None:
    old, middle, new = good(hours_ago=3, is_locked=True), good(hours_ago=2), good(hours_ago=1)
    BackupPolicy.objects.create(container=running, keep=1)
    assert alice_api.delete(at(running, old.pk)).json()["code"] == "locked_backup"
    assert backups.rotate(running) == 1
    assert {b.pk: b.state for b in Backup.objects.all()} == {old.pk: "good", middle.pk: "deleting", new.pk: "good"}
    assert backupwork.drop_deleted() == 1 and store_of(middle.destination).size(middle.key) is None
    assert alice_api.patch(at(running, old.pk), {"is_locked": False}, format="json").json()["is_locked"] is False
    assert alice_api.delete(at(running, old.pk)).status_code == 204


def test_the_oldest_go_until_the_bytes_are_kept_but_never_a_locked_one_nor_the_newest(running: Container, good: Any) -> None:
    locked, old, middle, new = (good(hours_ago=hours, content=b"x" * 40, is_locked=hours == 4) for hours in (4, 3, 2, 1))
    backups.set_policy(running, actor=SYSTEM, keep=9, limits=(9, 130))
    assert backups.rotate(running) == 1
    backups.set_policy(running, actor=SYSTEM, keep=9, limits=(9, 10))
    assert backups.rotate(running) == 1, "one newer than its limit stays all the same"
    states = {b.pk: b.state for b in Backup.objects.all()}
    assert states == {locked.pk: "good", old.pk: "deleting", middle.pk: "deleting", new.pk: "good"}


def test_limits_hold_and_only_administrators_change_them(alice_api: Any, root_api: Any, running: Container, good: Any, alice: Any) -> None:
    good(is_locked=True, content=b"x" * 100)
    assert alice_api.put(at(running, "policy"), {"keep": 3, "most_count": 50}, format="json").status_code == 403
    assert alice_api.put(at(running, "policy"), {"keep": 3}, format="json").json()["counts"]["keep"] == 3
    for limit in ({"most_count": 1}, {"most_bytes": 100}, {"most_count": 0}):
        assert root_api.put(at(running, "policy"), limit, format="json").status_code == 200
        refused = alice_api.post(at(running), {}, format="json")
        assert (refused.status_code, refused.json()["code"]) == (422, "backup_limit"), limit
    with pytest.raises(Refused):
        backups.set_policy(running, actor=SYSTEM, destination=BackupDestination(name="off", is_enabled=False))


def test_the_latest_good_one_is_neither_damaged_nor_unfinished(running: Container, good: Any, alice: Any) -> None:
    assert backups.latest_good_backup(running) is None
    wanted = good(hours_ago=2)
    damaged = good(hours_ago=1, is_damaged=True)
    backups.create_backup(running, user=alice, actor=alice.as_actor())
    assert backups.latest_good_backup(running) == wanted
    with pytest.raises(Conflict, match="damaged"):
        backups.restore_into(running, damaged, user=alice, actor=alice.as_actor())
    with pytest.raises(Locked):
        backups.restore_into(running, wanted, user=alice, actor=alice.as_actor())


def test_what_loses_its_worker_has_failed_and_leaves_nothing(running: Container, place: BackupDestination, alice: Any) -> None:
    """R04: a panel that was killed in the middle."""
    made, operation = backups.create_backup(running, user=alice, actor=alice.as_actor())
    draft = store_of(place).begin(made.key)
    draft.write(b"half")
    BackupWork.objects.update(worker="dead", alive_at=clock.now() - timedelta(seconds=backupwork.DEAD_SECONDS + 1))
    Backup.objects.update(state="running")
    assert backupwork.sweep()["settled"] == 1
    made.refresh_from_db()
    operation.refresh_from_db()
    assert (made.state, made.error_code, operation.status, operation.error_code) == ("failed", "worker_lost", "failed", "worker_lost")
    folder = Path(place.config["folder"])
    assert not [path for path in folder.rglob("*") if path.is_file()], "the half that was written is gone"
    assert not BackupWork.objects.filter(is_open=True).exists()
    with pytest.raises(Conflict):
        backups.verify(made, user=alice, actor=alice.as_actor())


def test_one_that_was_cancelled_before_it_began_never_runs(alice_api: Any, running: Container, place: BackupDestination, alice: Any) -> None:
    made, operation = backups.create_backup(running, user=alice, actor=alice.as_actor())
    assert alice_api.post(f"/api/operations/{operation.pk}/cancel").status_code == 200
    assert not backupwork.run(str(BackupWork.objects.get().pk))
    made.refresh_from_db()
    assert (made.state, made.error_code) == ("failed", "cancelled")


def test_no_more_than_a_few_run_at_a_time(running: Container, place: BackupDestination, alice: Any, settings: Any) -> None:
    settings.BACKUPS_AT_ONCE = 1
    backups.create_backup(running, user=alice, actor=alice.as_actor())
    work = BackupWork.objects.get()
    other = Operation.objects.create(kind="x", deadline=clock.now() + timedelta(minutes=5))
    BackupWork.objects.filter(pk=work.pk).update(is_open=False)
    BackupWork.objects.create(
        kind="create", backup=work.backup, container=running, operation=other, worker="busy", alive_at=clock.now(), is_open=True
    )
    BackupWork.objects.filter(pk=work.pk).update(container_id=running.pk)
    assert not backupwork.run(str(work.pk))


def test_a_container_that_is_gone_takes_its_backups_along_but_for_locked_ones(running: Container, good: Any, alice: Any, agent: Any) -> None:
    kept, gone = good(is_locked=True), good()
    remove.purge_container(running, user=alice, actor=SYSTEM)
    with suppress(Container.DoesNotExist):
        agent.done(running, "removed")
    assert not Container.objects.exists()
    backupwork.sweep()
    assert list(Backup.objects.values_list("pk", flat=True)) == [kept.pk]
    assert store_of(gone.destination).size(gone.key) is None and store_of(kept.destination).size(kept.key) is not None


def test_a_container_of_a_lost_node_is_made_anew_from_its_last_backup_and_held_meanwhile(running: Container, good: Any, agent: Any) -> None:
    """What failover asks for: nobody starts it empty while a worker makes it, stopped, on its new node."""
    made = good()
    Container.objects.update(observed="", status="unknown")
    with transaction.atomic():
        backupanew.restore_anew(running, made, start=True)
    running.refresh_from_db()
    work = BackupWork.objects.select_related("operation").get(is_open=True)
    assert (running.status, running.operation, work.options) == ("creating", work.operation, {"make": True, "start_after": True})
    with pytest.raises(Locked):
        power.act(running, "start", user=None, actor=SYSTEM)

    class Pulse:
        """The node answers between two looks."""

        def check(self) -> None:
            agent.done(running, "created")

    backupanew.make(work, Pulse())
    running.refresh_from_db()
    assert (running.observed, running.operation) == ("created", work.operation), "it is there, and held still"


# ------------------------------------------------------------------------------------------------------------ destinations


def test_a_panel_that_was_told_nothing_keeps_them_beside_its_data(db: None) -> None:
    found = places.default_destination()
    assert (found.kind, found.config["folder"]) == ("local", str(panel.DATA_DIR / "backups"))
    assert places.default_destination() == found


def test_destinations_are_for_administrators_and_give_no_secret_away(
    alice_api: Any, root_api: Any, root: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """I01, I02: keys are encrypted at rest, in no answer, page or journal row."""
    key, secret = f"AK{os.urandom(8).hex()}", os.urandom(16).hex()
    body = {"name": "s3", "kind": "s3", "bucket": "b", "endpoint": "http://127.0.0.1:9", "access_key": key, "secret_key": secret}
    assert alice_api.get("/api/backup-destinations").status_code == 403
    assert alice_api.post("/api/backup-destinations", body, format="json").status_code == 403
    made = root_api.post("/api/backup-destinations", body, format="json")
    assert made.status_code == 201 and made.json()["has_secret"] and made.json()["is_default"], made.content
    one = f"/api/backup-destinations/{made.json()['id']}"
    tested = root_api.post(f"{one}/test")
    assert tested.status_code == 200 and tested.json()["problem"]
    assert root_api.post("/api/backup-destinations", body, format="json").json()["code"] == "name_taken"
    assert root_api.patch(one, {"region": "eu"}, format="json").json()["region"] == "eu"
    browser = Client()
    browser.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    page = browser.get("/backup-destinations")
    assert page.status_code == 200 and "Does not work" in page.content.decode()
    row = BackupDestination.objects.get()
    seen = [made.content, tested.content, page.content, json.dumps([row.config, row.secret, row.problem]).encode(), caplog.text.encode()]
    seen.append(json.dumps(list(Entry.objects.values("before", "after", "message"))).encode())
    assert not any(word.encode() in text for text in seen for word in (key, secret))
    assert root_api.delete(one).status_code == 204


def test_one_that_holds_backups_stays_where_it_is(root_api: Any, good: Any, place: BackupDestination) -> None:
    good()
    one = f"/api/backup-destinations/{place.pk}"
    assert root_api.delete(one).json()["code"] == "in_use"
    assert root_api.patch(one, {"folder": "/elsewhere"}, format="json").json()["code"] == "in_use"
    assert root_api.patch(one, {"is_enabled": False}, format="json").json()["code"] == "is_default"
    assert root_api.patch(one, {"name": "renamed"}, format="json").json()["name"] == "renamed"
    assert root_api.post("/api/backup-destinations", {"name": "x", "kind": "local", "folder": "a/../b"}, format="json").status_code == 400


def test_a_folder_refuses_names_that_lead_out(place: BackupDestination) -> None:
    """B01"""
    store = store_of(place)
    for key in ("../x", "/etc/passwd", "a/../../b", ".hidden", "a//b"):
        with pytest.raises(StoreFault):
            store.begin(key)


# ------------------------------------------------------------------------------------------------------------------- pages


def test_the_tab_shows_them_and_asks_before_what_is_lost(alice: Any, running: Container, good: Any) -> None:
    browser = Client()
    browser.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    here = f"/containers/{running.pk}/backups"
    assert "No backups yet" in browser.get(here).content.decode()
    made = good()
    assert "Restore…" in browser.get(here).content.decode()
    asked = browser.get(f"{here}/{made.pk}/restore").content.decode()
    assert "All files of web are replaced" in asked
    assert browser.post(f"{here}/{made.pk}/restore", {"name": "wrong"}).status_code == 400
    assert browser.post(f"{here}/{made.pk}/lock").status_code == 302 and Backup.objects.get().is_locked
    assert browser.post(here, {"section": "policy", "keep": "2", "ignore": "*.log\n"}).status_code == 302
    assert BackupPolicy.objects.get().ignore == ["*.log"]
    assert browser.post(here, {"name": "by hand"}).status_code == 302 and Backup.objects.count() == 2
    assert "Waiting" in browser.get(here).content.decode()
    assert browser.post(f"{here}/{made.pk}/restore", {"name": "web"}).status_code == 423
