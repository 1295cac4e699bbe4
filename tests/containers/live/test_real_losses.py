"""What is taken away ends tokens at once and sockets within five seconds: by every way, over a real server in another process.

Told, not found by the clock: `patient`'s sockets look at the database every ten minutes only, so that whatever ends there was told to end, however
busy the machine is. What nobody tells is found by the look, whose pace is held to the promise by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from rest_framework.test import APIClient
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from accounts import granting, grants, keys, mailbox, people, proofs, services, tickets
from accounts import roles as role_acts
from accounts.models import AuthSession, Role, User
from audit.models import Entry
from containers.live import socket as sockets_module
from lormas.common import clock
from tests.accounts.conftest import PASSWORD, bearer
from tests.console.conftest import make_container, make_node
from tests.nodes.rig import Panel, panel_of_a_module
from tests.rights.conftest import give

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
PROMISED_SECONDS = 5.0
DEADLINE_SECONDS = 60
"""Reached only in failure."""
patient_process = panel_of_a_module(application="tests.containers.live.patient:application")


@pytest.fixture
def patient(transactional_db: None, patient_process: Panel) -> Panel:
    """A real daphne whose sockets end only where they are told to."""
    if not patient_process.alive:
        patient_process.start()
    return patient_process


NEW = "a quite different one 7"


class Holder:
    """A person with what opens doors: an access token, a browser, an API key."""

    def __init__(self, name: str, role: Any) -> None:
        self.user = User.objects.create_user(f"{name}@example.org", PASSWORD, username=name, role=role)
        pair = services.sign_in(self.user, address=None, user_agent="test")
        self.access, self.session = pair.access, pair.session
        self.browser = Client()
        self.browser.post("/login", {"login": name, "password": PASSWORD})
        self.cookie = "; ".join(f"{key}={morsel.value}" for key, morsel in self.browser.cookies.items())
        self.key, self.secret = keys.create_key(self.user, name="ci", scopes=["containers.view"], actor=self.user.as_actor())

    def headers(self, way: str) -> dict[str, str]:
        return {"Cookie": self.cookie} if way == "cookie" else bearer(self.access if way == "token" else self.secret)

    def asks(self, way: str) -> int:
        """What the API answers now."""
        if way == "cookie":
            return self.browser.get("/api/containers").status_code
        return int(APIClient().get("/api/containers", headers=self.headers(way)).status_code)


def api(holder: Holder) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {holder.access}")
    return client


def other_session(holder: Holder) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {services.sign_in(holder.user, address=None, user_agent='other').access}")
    return client


def reset(holder: Holder) -> None:
    User.objects.filter(pk=holder.user.pk).update(last_login=clock.now())
    mailbox.reset(proofs.for_reset(User.objects.get(pk=holder.user.pk)), password=NEW, address=None)


Act = Callable[[Holder, Any], Any]
# the way: what is done -> which of the person's sockets end; the others live on
ENDS: dict[str, tuple[Act, set[str]]] = {
    "sign-out of a program": (lambda h, root: api(h).post("/api/auth/sign-out"), {"token"}),
    "sign-out of a browser": (lambda h, root: h.browser.post("/logout"), {"cookie"}),
    "a session is ended from another": (lambda h, root: other_session(h).delete(f"/api/auth/sessions/{h.session.pk}"), {"token"}),
    "password change": (
        lambda h, root: other_session(h).put("/api/auth/password", {"old_password": PASSWORD, "password": NEW}, format="json"),
        {"token", "cookie"},
    ),
    "password reset by mail": (lambda h, root: reset(h), {"token", "cookie"}),
    "password reset by an administrator": (
        lambda h, root: services.reset_password(h.user, actor=root.as_actor()),
        {"token", "cookie", "key"},  # the key waits with its owner until the password was changed
    ),
    "deactivated": (
        lambda h, root: people.update_person(root, h.user.pk, changes={"is_active": False}, actor=root.as_actor()),
        {"token", "cookie", "key"},
    ),
    "deleted": (lambda h, root: people.delete_person(root, h.user.pk, actor=root.as_actor()), {"token", "cookie", "key"}),
    "the key is deleted": (lambda h, root: keys.delete_key(h.user, h.key.pk, actor=h.user.as_actor()), {"key"}),
}


async def opened(panel: Panel, holder: Holder, way: str) -> Any:
    address = panel.url.replace("http", "ws") + "/ws"
    socket = await connect(address, additional_headers=holder.headers(way), origin=panel.url if way == "cookie" else None, proxy=None)
    assert json.loads(await socket.recv())["type"] == "authenticated"
    return socket


async def ended(socket: Any) -> int | None:
    """The close code; None: it still answers."""
    try:
        await socket.send(json.dumps({"type": "ping", "id": "?"}))
        while json.loads(await socket.recv()).get("reply_to") != "?":
            pass
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd else 1006
    return None


@pytest.mark.parametrize(("act", "ends"), ENDS.values(), ids=ENDS.keys())
async def test_each_way_out_ends_what_it_should_and_nothing_else(patient: Panel, root: Any, roles: Any, act: Act, ends: set[str]) -> None:
    """D10, E03."""
    await _ends(patient, await sync_to_async(Holder)("paul", roles["member"]), root, act, ends)


async def test_what_nobody_told_is_found_by_the_look(panel: Panel, root: Any, roles: Any) -> None:
    """D10: a row that changed behind everybody's back; a look is due well within what is promised."""
    assert sockets_module.RECHECK_SECONDS < PROMISED_SECONDS

    def act(h: Holder, root: Any) -> None:
        AuthSession.objects.filter(pk=h.session.pk).update(revoked_at=clock.now())

    await _ends(panel, await sync_to_async(Holder)("paul", roles["member"]), root, act, {"token"})


async def _ends(panel: Panel, holder: Holder, root: Any, act: Act, ends: set[str]) -> None:
    sockets = {way: await opened(panel, holder, way) for way in ("token", "cookie", "key")}
    for socket in sockets.values():
        assert await ended(socket) is None
    await sync_to_async(act)(holder, root)
    for way in ends:
        with pytest.raises(ConnectionClosed) as end:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    await sockets[way].recv()
        assert end.value.rcvd is not None and end.value.rcvd.code in (4401, 4403), way
    for way, socket in sockets.items():
        answer = await sync_to_async(holder.asks)(way)
        assert (answer != 200) == (way in ends), f"{way} {answer}"
        if way not in ends:
            assert await ended(socket) is None, way
        await socket.close()


def _role(capabilities: list[str]) -> Role:
    return Role.objects.create(slug="watchers", name="Watchers", capabilities=capabilities)


async def test_a_lost_right_ends_its_feeds_and_the_next_request(patient: Panel, root: Any, alice: Any, roles: Any) -> None:
    """D10, E03: another role, a role that holds less, a grant that is taken, a second factor that is asked for."""
    web = await sync_to_async(lambda: make_container("web", alice, make_node("fra-1")))()
    watchers = await sync_to_async(_role)(["containers.view", "containers.any"])
    kind = grants.kind("container")

    def taken(holder: Holder) -> None:
        (grant,) = [one for one in granting.on(kind, web) if one.user is not None and one.user.pk == holder.user.pk]
        granting.take(kind, web, grant.id, actor=alice.as_actor())

    ways: dict[str, tuple[Any, Callable[[Holder], Any]]] = {
        "another role": (watchers, lambda h: people.update_person(root, h.user.pk, changes={"role": "viewer"}, actor=root.as_actor())),
        "the role holds less": (
            watchers,
            lambda h: role_acts.update_role(root, watchers.pk, changes={"capabilities": ["containers.view"]}, actor=root.as_actor()),
        ),
        "the grant is taken": (roles["viewer"], taken),
    }
    for number, (name, (role, act)) in enumerate(ways.items()):
        holder = await sync_to_async(Holder)(f"w{number}", role)
        if name == "the grant is taken":
            await sync_to_async(give)(alice, web, holder.user, "containers.view")
        socket = await opened(patient, holder, "token")
        await socket.send(json.dumps({"type": "subscribe_stats", "container_id": str(web.pk), "id": 1}))
        assert await ended(socket) is None
        assert (await sync_to_async(api(holder).get)(f"/api/containers/{web.pk}")).status_code == 200, name
        await sync_to_async(act)(holder)
        assert (await sync_to_async(api(holder).get)(f"/api/containers/{web.pk}")).status_code == 404, f"{name}: at once"
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (message := json.loads(await socket.recv())).get("code") != "lost_access":
                pass
        assert message["subscription"] == f"stats:{web.pk}"
        assert await ended(socket) is None, "the socket itself lives on"
        await socket.close()


async def test_a_ticket_and_too_many_mistakes_end_a_socket_for_real(panel: Panel, alice: Any) -> None:
    """F03, F05, M9: the ticket is good once and in no log; after 20 mistakes the server hangs up, it does not just stop to listen."""
    pair = await sync_to_async(services.sign_in)(alice, address=None, user_agent="")
    ticket = tickets.issue(alice, pair.session, action="socket")
    address = f"{panel.url.replace('http', 'ws')}/ws?token={ticket}"
    async with connect(address, proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "authenticated"
        with pytest.raises(ConnectionClosed) as end:
            for _ in range(25):
                await socket.send(json.dumps({"type": "no such type"}))
            while True:
                await socket.recv()
        assert end.value.rcvd is not None and end.value.rcvd.code == 4429
    async with connect(address, proxy=None) as socket:
        with pytest.raises(ConnectionClosed) as end:
            await socket.recv()
        assert end.value.rcvd is not None and end.value.rcvd.code == 4401
    assert ticket not in panel.said()


async def test_seeing_as_somebody_begins_and_ends_with_the_socket(patient: Panel, alice: Any, bob: Any, roles: Any) -> None:
    """D10, I04: before, during and after are three sockets; what is done or refused in between names both persons."""
    ruth = await sync_to_async(Holder)("ruth", roles["administrator"])
    node = await sync_to_async(make_node)("fra-1")
    hers = await sync_to_async(make_container)("hers", alice, node)
    his = await sync_to_async(make_container)("his", bob, node)

    async def over(socket: Any) -> None:
        with pytest.raises(ConnectionClosed) as end:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    await socket.recv()
        assert end.value.rcvd is not None and end.value.rcvd.code == 4401

    async def begun() -> Any:
        assert (await sync_to_async(ruth.browser.post)(f"/users/{alice.pk}/impersonate")).status_code == 302
        return await opened(patient, ruth, "cookie")

    async def told(socket: Any, **message: Any) -> Any:
        await socket.send(json.dumps({"id": "?", **message}))
        while (answer := json.loads(await socket.recv())).get("reply_to") != "?":
            pass
        return answer

    before = await opened(patient, ruth, "cookie")
    assert (await told(before, type="use", container_id=str(his.pk)))["type"] != "error", "an administrator sees all"
    during = await begun()
    await over(before)
    assert (await told(during, type="power", action="stop", container_id=str(his.pk)))["code"] == "not_found", "alice does not"
    assert (await told(during, type="power", action="stop", container_id=str(hers.pk)))["type"] == "operation"
    rows = await sync_to_async(lambda: list(Entry.objects.filter(action__in=("ws.denied", "containers.stop")).order_by("id")))()
    assert [(row.outcome, row.target_id, row.actor_id, row.actor_label) for row in rows] == [
        (outcome, str(target.pk), str(ruth.user.pk), "ruth as Alice") for outcome, target in (("refused", his), ("ok", hers))
    ]
    assert (await sync_to_async(ruth.browser.post)("/users/leave")).status_code == 302
    await over(during)
    after = await opened(patient, ruth, "cookie")
    assert (await told(after, type="use", container_id=str(his.pk)))["type"] != "error"
    during = await begun()
    await sync_to_async(people.update_person)(ruth.user, alice.pk, changes={"is_active": False}, actor=ruth.user.as_actor())
    await over(during)
