"""Session containers: so many may run at a time, over all people (MAX_SESSIONS)."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from accounts.models import User
from audit.services import SYSTEM
from containers.models import Backup, BackupWork, Container, ContainerSettings
from containers.services import NewContainer, backups, backupwork, create_container, destinations, moving, observe, power
from lormas.common.errors import Problem, Refused
from nodes.models import Node, Operation
from nodes.services import register_node
from tests.containers.test_install_and_prompts import egg_of

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
SESSION = {"image": "busybox:1", "session": True}


def test_the_next_one_waits_for_a_place_and_a_stopped_one_gives_its_away(
    alice: Any, bob: Any, alice_api: Any, make: Any, agent: Any, settings: Any
) -> None:
    settings.MAX_SESSIONS = 2
    first, _ = make("one", is_session=True)
    second, _ = make("two", user=bob, is_session=True)
    promised = Node.objects.get().allocated_memory_bytes
    refused = alice_api.post("/api/containers", {"name": "three", **SESSION}, format="json")
    assert (refused.status_code, refused.json()["code"], refused.json()["used"], refused.json()["allowed"]) == (422, "too_many_sessions", 2, 2)
    assert "stop one" in refused.json()["detail"]
    assert (Container.objects.count(), Operation.objects.count(), Node.objects.get().allocated_memory_bytes) == (2, 2, promised)
    assert alice_api.post("/api/containers", {"name": "web", "image": "busybox:1"}, format="json").status_code == 201  # no session
    assert alice_api.post("/api/containers", {"name": "later", "start": False, **SESSION}, format="json").status_code == 201

    agent.done(first, "running", started_at="2026-01-01T00:00:00Z")
    power.act(first, "restart", user=alice, actor=alice.as_actor())  # has its place already
    agent.done(first, "running", started_at="2026-01-01T00:00:00Z")
    power.act(first, "stop", user=alice, actor=alice.as_actor())
    agent.done(first, "exited", exit_code=0)
    assert alice_api.post("/api/containers", {"name": "three", **SESSION}, format="json").status_code == 201
    with pytest.raises(Refused) as again:
        power.act(first, "start", user=alice, actor=alice.as_actor())
    assert again.value.code == "too_many_sessions"
    first.refresh_from_db()
    assert (first.desired, first.status, first.operation_id) == ("stopped", "stopped", None)
    Container.objects.filter(pk=second.pk).update(desired="stopped")
    power.act(first, "start", user=alice, actor=alice.as_actor())


def test_installing_again_and_starting_needs_a_place_too(alice: Any, bob: Any, alice_api: Any, make: Any, agent: Any, settings: Any) -> None:
    """One that was stopped is refused, and nothing of it is changed; without a start, or with its own place, it is installed."""
    settings.MAX_SESSIONS = 1
    game, _ = make("game", image="", egg=egg_of(), is_session=True, start=False)
    agent.done(game, "created")
    rival, _ = make("rival", user=bob, is_session=True)
    agent.done(rival, "running")
    before = Operation.objects.count()
    refused = alice_api.post(f"/api/containers/{game.pk}/reinstall", {"start": True}, format="json")
    assert (refused.status_code, refused.json()["code"], refused.json()["used"]) == (422, "too_many_sessions", 1)
    game.refresh_from_db()
    assert (game.desired, game.operation_id, Operation.objects.count()) == ("stopped", None, before)
    assert alice_api.post(f"/api/containers/{game.pk}/reinstall", {}, format="json").status_code == 202
    agent.done(game, "created")
    power.act(rival, "stop", user=bob, actor=bob.as_actor())
    agent.done(rival, "exited", exit_code=0)
    for _ in range(2):  # the second time it has its place
        assert alice_api.post(f"/api/containers/{game.pk}/reinstall", {"start": True}, format="json").status_code == 202
        agent.done(game, "running")


@pytest.fixture
def session(make: Any, agent: Any, tmp_path: Any, settings: Any) -> Container:
    """alice's, running, with the only place there is, and somewhere for backups."""
    settings.MAX_SESSIONS = 1
    destinations.add(name="disk", kind="local", given={"folder": str(tmp_path / "kept")}, is_default=True, actor=SYSTEM)
    made, _ = make("mine", is_session=True)
    agent.done(made, "running", started_at="2026-01-01T00:00:00Z")
    return made  # type: ignore[no-any-return]


def stopped_for(work: BackupWork, container: Container, agent: Any, monkeypatch: pytest.MonkeyPatch, *, restart: bool) -> None:
    """The worker's stop, and the node that does it."""

    def node_does_it(operation_id: Any, _seconds: float) -> Operation:
        agent.done(container, "exited", exit_code=0)
        return Operation.objects.get(pk=operation_id)

    monkeypatch.setattr(backupwork.operations, "wait_for", node_does_it)
    backupwork.stop_for(work, restart=restart)


def refused_to(person: Any) -> str:
    try:
        create_container(user=person, actor=person.as_actor(), data=NewContainer(name="rival", image="busybox:1", is_session=True))
    except Refused as refusal:
        return refusal.code
    return ""


@pytest.mark.parametrize("ends_well", [True, False])
def test_its_own_backup_keeps_its_place_whether_it_succeeds_or_not(
    session: Container, alice: Any, bob: Any, agent: Any, monkeypatch: pytest.MonkeyPatch, settings: Any, ends_well: bool
) -> None:
    """The rival asks while it is stopped, and once more when the work has ended: at no time is the place free."""
    backups.create_backup(session, user=alice, actor=alice.as_actor(), stop_first=True)
    work = BackupWork.objects.get()
    stopped_for(work, session, agent, monkeypatch, restart=True)
    session.refresh_from_db()
    assert (session.desired, session.observed) == ("stopped", "exited")
    assert refused_to(bob) == "too_many_sessions"
    settings.MAX_SESSIONS = 0  # fewer than run: those that run are not ended by it, and this one ran
    if ends_well:
        backupwork._done(work, {})
    else:
        backupwork._failed(work, "destination_failed", "The disk is full.")
    session.refresh_from_db()
    assert (session.desired, session.status, session.operation.kind) == ("running", "starting", "container.start")
    settings.MAX_SESSIONS = 1
    assert refused_to(bob) == "too_many_sessions"


def test_a_restore_that_leaves_it_stopped_gives_the_place_away(
    session: Container, alice: Any, bob: Any, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup, _ = backups.create_backup(session, user=alice, actor=alice.as_actor())
    BackupWork.objects.update(is_open=False)
    Backup.objects.update(state="good")
    backup.refresh_from_db()
    backups.restore_into(session, backup, user=alice, actor=alice.as_actor(), start=False)
    stopped_for(BackupWork.objects.get(is_open=True), session, agent, monkeypatch, restart=False)
    assert refused_to(bob) == ""


def test_a_restore_that_is_to_start_a_stopped_one_takes_a_place_when_asked_for(
    session: Container, alice: Any, alice_api: Any, bob: Any, agent: Any, make: Any
) -> None:
    """Refused before any file is touched; granted, the place is its own from then on, though it is stopped."""
    backup, _ = backups.create_backup(session, user=alice, actor=alice.as_actor())
    BackupWork.objects.update(is_open=False)
    Backup.objects.update(state="good")
    power.act(session, "stop", user=alice, actor=alice.as_actor())
    agent.done(session, "exited", exit_code=0)
    rival, _ = make("theirs", user=bob, is_session=True)
    agent.done(rival, "running")
    address = f"/api/containers/{session.pk}/backups/{backup.pk}/restore"
    refused = alice_api.post(address, {"start": True}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_sessions")
    assert not BackupWork.objects.filter(is_open=True).exists()
    power.act(rival, "stop", user=bob, actor=bob.as_actor())
    agent.done(rival, "exited", exit_code=0)
    assert alice_api.post(address, {"start": True}, format="json").status_code == 202
    assert refused_to(bob) == "too_many_sessions"
    work = BackupWork.objects.get(is_open=True)
    backupwork.stop_for(work, restart=True)
    backupwork._done(work, {})
    session.refresh_from_db()
    assert session.desired == "running"


def test_a_start_behind_our_back_can_not_be_refused_but_counts(session: Container, alice: Any, bob: Any, agent: Any) -> None:
    """Somebody with the docker command: two run then where one may, and there is no third."""
    power.act(session, "stop", user=alice, actor=alice.as_actor())
    agent.done(session, "exited", exit_code=0)
    assert refused_to(bob) == ""
    assert session.node_id is not None
    observe.observe(session.node_id, agent.report(session, "running", cause="external"))
    session.refresh_from_db()
    assert (session.desired, session.status) == ("running", "running")
    with pytest.raises(Refused) as refusal:
        create_container(user=alice, actor=alice.as_actor(), data=NewContainer(name="third", image="busybox:1", is_session=True))
    assert (refusal.value.extra["used"], refusal.value.extra["allowed"]) == (2, 1)


def test_a_copy_is_an_ordinary_container_unless_it_is_asked_to_be_a_session(session: Container, alice_api: Any, settings: Any) -> None:
    """The only place is taken: an ordinary copy is no matter of places, another session is."""
    ContainerSettings.objects.filter(container=session).update(idle_timeout_seconds=900, startup_script="echo hi")
    address = f"/api/containers/{session.pk}/duplicate"
    plain = alice_api.post(address, {"name": "plain"}, format="json")
    assert (plain.status_code, plain.json()["session"]) == (201, False)
    refused = alice_api.post(address, {"name": "again", "session": True}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_sessions")
    assert not Container.objects.filter(name="again").exists()
    settings.MAX_SESSIONS = 2
    again = alice_api.post(address, {"name": "again", "session": True}, format="json")
    assert (again.status_code, again.json()["session"]) == (201, True)
    kept = ContainerSettings.objects.filter(container__name__in=("plain", "again")).values_list("idle_timeout_seconds", "startup_script")
    assert list(kept) == [(900, "echo hi")] * 2
    ContainerSettings.objects.filter(container=session).update(idle_timeout_seconds=0)
    settings.MAX_SESSIONS = 3
    third = alice_api.post(address, {"name": "third", "session": True}, format="json").json()["id"]
    assert ContainerSettings.objects.get(container_id=third).idle_timeout_seconds == settings.SESSION_IDLE_TIMEOUT


def test_the_page_says_what_a_copy_of_a_session_is_and_makes_what_was_ticked(
    session: Container, make: Any, agent: Any, alice: Any, settings: Any
) -> None:
    page = Client()
    page.force_login(alice)
    address = f"/containers/{session.pk}/duplicate"
    asked = page.get(address).content.decode()
    assert "a copy is an ordinary one unless you tick this" in asked and 'name="session"' in asked
    assert page.post(address, {"name": "plain", "start": "1"}).status_code == 302
    assert not Container.objects.get(name="plain").is_session
    refused = page.post(address, {"name": "again", "start": "1", "session": "1"})
    shown = refused.content.decode()
    assert refused.status_code == 400 and "session containers run" in shown, "the only place is taken"
    assert re.search(r'name="session"[^>]* checked', shown), "what was ticked is still ticked"
    assert not Container.objects.filter(name="again").exists()
    settings.MAX_SESSIONS = 2
    assert page.post(address, {"name": "again", "start": "1", "session": "1"}).status_code == 302
    assert Container.objects.get(name="again").is_session
    ordinary, _ = make("web")
    agent.done(ordinary, "running")
    assert 'name="session"' not in page.get(f"/containers/{ordinary.pk}/duplicate").content.decode()


def test_a_stopped_one_that_is_moved_to_be_started_elsewhere_needs_a_place(session: Container, alice: Any, bob: Any, agent: Any) -> None:
    """A drain stops it and makes it anew elsewhere: if its place is taken meanwhile, it stays where it is, and says why."""
    power.act(session, "stop", user=None, actor=SYSTEM)
    agent.done(session, "exited", exit_code=0)
    home = session.node
    second, _ = register_node(name="node-2", actor=SYSTEM)
    same = ("status", "cpu_cores", "total_memory_bytes", "total_storage_bytes", "gateway", "runtime_kind", "last_heartbeat")
    Node.objects.filter(pk=second.pk).update(**{name: getattr(home, name) for name in same})
    assert refused_to(bob) == ""
    with pytest.raises(Refused) as refusal:
        moving.move_away(session, reason="drain")
    assert refusal.value.code == "too_many_sessions"
    session.refresh_from_db()
    assert (session.node_id, session.desired) == (home.pk, "stopped")


@pytest.mark.django_db(transaction=True)
def test_of_ten_at_once_for_the_last_place_one_gets_it(alice: Any, bob: Any, node: Any, settings: Any) -> None:
    """SECURITY J01: each in a thread and a connection of its own, for two people; on PostgreSQL and SQLite."""
    settings.MAX_SESSIONS = 1
    gate = threading.Barrier(10)

    def one(number: int) -> str:
        try:
            gate.wait(60)
            user = User.objects.get(pk=(alice, bob)[number % 2].pk)
            create_container(user=user, actor=user.as_actor(), data=NewContainer(name=f"s-{number}", image="busybox:1", is_session=True))
        except Problem as problem:
            return problem.code
        finally:
            connections.close_all()
        return "made"

    with ThreadPoolExecutor(10) as pool:
        said = list(pool.map(one, range(10)))
    assert sorted(said) == ["made"] + ["too_many_sessions"] * 9
    assert Container.objects.count() == 1
