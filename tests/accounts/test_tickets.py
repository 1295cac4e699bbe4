"""One-time tickets: each opens what it says, once, within a minute, and nothing else opens where a ticket is asked for."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings as django_settings
from django.test import Client
from rest_framework.test import APIClient

from accounts import keys, tickets, tokens
from accounts.services import sign_in as start_session
from lormas.common import clock
from lormas.common.errors import NotSignedIn
from nodes import tokens as node_tokens
from nodes.models import Node
from tests.accounts.conftest import bearer

pytestmark = pytest.mark.redis


@pytest.fixture
def ask(alice: Any) -> Callable[..., str]:
    """A ticket of alice's, through the API."""
    access = start_session(alice, address=None, user_agent="").access

    def act(**wish: Any) -> str:
        answer = APIClient().post("/api/auth/tickets", {"action": "socket", **wish}, format="json", headers=bearer(access))
        assert answer.status_code == 201, answer.content
        assert (answer.headers["Cache-Control"], answer.json()["expires_in"]) == ("no-store", 60)
        return str(answer.json()["ticket"])

    return act


def test_a_ticket_is_good_once(ask: Callable[..., str], alice: Any) -> None:
    """E20, D12."""
    about = str(uuid.uuid4())
    ticket = ask(container_id=about)
    spent = tickets.spend(ticket, action="socket")
    assert (spent.user.pk, spent.about, spent.session is not None) == (alice.pk, about, True)
    with pytest.raises(NotSignedIn):
        tickets.spend(ticket, action="socket")


@pytest.mark.django_db(transaction=True)
def test_of_many_that_come_with_one_ticket_one_gets_in(ask: Callable[..., str]) -> None:
    """E08."""
    from django.db import connections

    ticket = ask()

    def attempt(_: int) -> bool:
        try:
            return tickets.spend(ticket, action="socket").user is not None
        except NotSignedIn:
            return False
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(attempt, range(20))) == 1


def test_it_is_too_old_after_a_minute(ask: Callable[..., str], alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now()
    with monkeypatch.context() as then:
        then.setattr(clock, "now", lambda: now - timedelta(seconds=61))
        ticket = tickets.issue(alice, start_session(alice, address=None, user_agent="").session, action="socket")
    with pytest.raises(NotSignedIn):
        tickets.spend(ticket, action="socket")


def test_it_ends_with_what_it_came_from(ask: Callable[..., str], alice: Any) -> None:
    """E03, D10: sign-out, deactivation, generation, a deleted key."""
    ticket = ask()
    tokens.revoke_all(alice, why="test")
    with pytest.raises(NotSignedIn):
        tickets.spend(ticket, action="socket")
    key, secret = keys.create_key(alice, name="ci", scopes=["containers.view"], actor=alice.as_actor())
    first, second = (
        APIClient().post("/api/auth/tickets", {"action": "socket"}, format="json", headers=bearer(secret)).json()["ticket"] for _ in range(2)
    )
    spent = tickets.spend(first, action="socket")
    assert (spent.user.api_key, spent.session) == (key, None), "and does what the key may"
    keys.delete_key(alice, key.pk, actor=alice.as_actor())
    with pytest.raises(NotSignedIn):
        tickets.spend(second, action="socket")


def test_a_cookie_session_gets_one_with_csrf_only(alice: Any) -> None:
    """H02."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    assert client.post("/api/auth/tickets", {"action": "socket"}, content_type="application/json").status_code == 403
    client.get("/profile")
    token = client.cookies["lormas_csrf"].value
    answer = client.post("/api/auth/tickets", {"action": "socket"}, content_type="application/json", headers={"X-CSRFToken": token})
    assert answer.status_code == 201
    spent = tickets.spend(answer.json()["ticket"], action="socket")
    assert spent.session is not None and spent.session.kind == "browser"


@pytest.mark.parametrize(
    ("wish", "status"),
    [({"action": "files"}, 400), ({}, 400), ({"action": "socket", "container_id": "x"}, 400), ({"action": "socket", "user": "root"}, 400)],
    ids=str,
)
def test_a_wrong_wish_is_400(alice: Any, api: APIClient, wish: dict[str, Any], status: int) -> None:
    """D13."""
    api.force_authenticate(alice)
    assert api.post("/api/auth/tickets", wish, format="json").status_code == status


@pytest.fixture
def bearers(alice: Any) -> dict[str, Callable[[], str]]:
    """A good one of every kind, fresh each time."""
    node = Node.objects.create(name="n1")

    def ticket() -> str:
        return tickets.issue(alice, start_session(alice, address=None, user_agent="").session, action="socket")

    return {
        "access": lambda: start_session(alice, address=None, user_agent="").access,
        "refresh": lambda: start_session(alice, address=None, user_agent="").refresh,
        "agent": lambda: node_tokens.issue(node),
        "ticket": ticket,
        "key": lambda: keys.create_key(alice, name=uuid.uuid4().hex, scopes=["containers.view"], actor=alice.as_actor())[1],
    }


def _spend(token: str) -> bool:
    try:
        return tickets.spend(token, action="socket").user is not None
    except NotSignedIn:
        return False


def _node(token: str) -> bool:
    try:
        return node_tokens.node_of(token) is not None
    except node_tokens.BadToken:
        return False


DOORS: dict[str, tuple[Callable[[str], bool], set[str]]] = {
    "the API": (lambda t: APIClient().get("/api/whoami", headers=bearer(t)).status_code == 200, {"access", "key"}),
    "refresh": (lambda t: APIClient().post("/api/auth/refresh", {"refresh": t}, format="json").status_code == 200, {"refresh"}),
    "the agents' socket": (_node, {"agent"}),
    "a ticket's door": (_spend, {"ticket"}),
    "the address of an API call": (lambda t: APIClient().get(f"/api/whoami?token={t}&access_token={t}").status_code == 200, set()),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", ["access", "refresh", "agent", "ticket", "key"])
def test_each_kind_opens_its_own_door_only(bearers: dict[str, Callable[[], str]], kind: str, door: str) -> None:
    """E02, D12, M9: five kinds at five doors."""
    opens, kinds = DOORS[door]
    assert opens(bearers[kind]()) is (kind in kinds)


FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "alg none": lambda c: jwt.encode(c, "", algorithm="none"),
    "the user key": lambda c: jwt.encode(c, django_settings.JWT_USER_KEY, algorithm="HS256"),
    "the agent key": lambda c: jwt.encode(c, django_settings.JWT_AGENT_KEY, algorithm="HS256"),
    "another audience": lambda c: jwt.encode({**c, "aud": "user"}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "two audiences": lambda c: jwt.encode({**c, "aud": ["ticket", "user"]}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "another act": lambda c: jwt.encode({**c, "act": "files"}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "no expiry": lambda c: jwt.encode({k: v for k, v in c.items() if k != "exp"}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "no number of its own": lambda c: jwt.encode({**c, "jti": "x"}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "a person that is none": lambda c: jwt.encode({**c, "sub": "root"}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "another person": lambda c: jwt.encode({**c, "sub": str(uuid.uuid4())}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "another generation": lambda c: jwt.encode({**c, "gen": 9}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "no origin": lambda c: jwt.encode({k: v for k, v in c.items() if k != "sid"}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "expired": lambda c: jwt.encode({**c, "exp": int(time.time()) - 1}, django_settings.JWT_TICKET_KEY, algorithm="HS256"),
    "words": lambda c: "not a ticket",
    "nothing": lambda c: "",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_forged_ticket_is_refused_and_never_an_error_of_ours(ask: Callable[..., str], forge: Callable[[dict[str, Any]], str]) -> None:
    """E01."""
    claims = jwt.decode(ask(), options={"verify_signature": False})
    good = jwt.encode(jwt.decode(ask(), options={"verify_signature": False}), django_settings.JWT_TICKET_KEY, algorithm="HS256")
    assert tickets.spend(good, action="socket").user is not None, "the forger's key and claims are those of a ticket that works"
    with pytest.raises(NotSignedIn):
        tickets.spend(forge(claims), action="socket")
