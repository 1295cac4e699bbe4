"""Codes of an authenticator app and recovery codes: set up, asked for, good once, and demanded where the panel says so."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from accounts import keys, second_factor
from accounts.models import AuthSession
from audit.models import Entry
from lormas.common import clock
from tests.accounts.conftest import PASSWORD, bearer

pytestmark = pytest.mark.redis
FORM = {"login": "alice@example.org", "password": PASSWORD, "remember": "on"}
FACTOR = "/api/auth/second-factor"


def code_at(secret: str, *, steps: int = 0) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))


def sign_in(**body: Any) -> Any:
    return APIClient().post("/api/auth/sign-in", {"email": "alice", "password": PASSWORD, **body}, format="json")


def set_up(user: Any) -> tuple[str, list[str]]:
    """The secret and the recovery codes of somebody who uses an app (since two minutes ago)."""
    with time_machine.travel(clock.now() - timedelta(minutes=2)):
        begun = second_factor.begin_totp(user)
        codes = second_factor.activate_totp(user, draft=begun["draft"], code=code_at(begun["secret"]), actor=user.as_actor())
    return begun["secret"], codes


@pytest.fixture
def app(alice: Any) -> tuple[str, list[str]]:
    return set_up(alice)


def test_it_is_set_up_by_the_first_right_code(api: APIClient, alice: Any) -> None:
    headers = bearer(sign_in().json()["access"])
    begun = api.post(f"{FACTOR}/totp", headers=headers).json()
    assert begun["uri"].startswith("otpauth://totp/Lormas%3Aalice%40example.org?secret=")
    body = {"draft": begun["draft"], "code": "000000"}
    assert api.put(f"{FACTOR}/totp", body, format="json", headers=headers).json()["code"] == "code_wrong"
    assert not second_factor.has(alice)
    answer = api.put(f"{FACTOR}/totp", {**body, "code": code_at(begun["secret"])}, format="json", headers=headers)
    assert len(set(answer.json()["recovery_codes"])) == 10
    assert answer.headers["Cache-Control"] == "no-store"
    found = api.get(FACTOR, headers=headers).json()
    assert (found["totp"], found["recovery_codes_left"], found["asked_for"]) == (True, 10, False)
    assert api.post(f"{FACTOR}/totp", headers=headers).json()["code"] == "totp_active"
    assert Entry.objects.get(action="accounts.factor_add").after == {"kind": "totp"}


def test_anothers_set_up_and_an_old_one_are_void(alice: Any, bob: Any) -> None:
    begun = second_factor.begin_totp(bob)
    with pytest.raises(Exception, match="too old"):
        second_factor.activate_totp(alice, draft=begun["draft"], code=code_at(begun["secret"]), actor=alice.as_actor())
    mine = second_factor.begin_totp(alice)
    with time_machine.travel(clock.now() + timedelta(minutes=16)), pytest.raises(Exception, match="too old"):
        second_factor.activate_totp(alice, draft=mine["draft"], code=code_at(mine["secret"]), actor=alice.as_actor())


def test_a_program_signs_in_with_password_and_code(alice: Any, app: Any) -> None:
    secret, _ = app
    assert (sign_in().status_code, sign_in().json()["code"]) == (401, "code_required")
    assert sign_in(code="123456").json()["code"] == "code_wrong"
    assert sign_in(password="wrong", code=code_at(secret)).json()["code"] == "bad_credentials"
    spaced = f"{code_at(secret)[:3]} {code_at(secret)[3:]}"
    assert sign_in(code=spaced).status_code == 200
    assert Entry.objects.filter(action="accounts.sign_in", outcome="refused", message="wrong code").count() == 1


def test_a_code_is_good_once_and_so_are_those_before_it(alice: Any, app: Any) -> None:
    """E20."""
    secret, _ = app
    with time_machine.travel(clock.now(), tick=False):
        code, before = code_at(secret), code_at(secret, steps=-1)
        assert [sign_in(code=code).status_code, sign_in(code=code).status_code, sign_in(code=before).status_code] == [200, 401, 401]
        assert sign_in(code=code_at(secret, steps=1)).status_code == 200, "a phone that is half a minute ahead"
        assert sign_in(code=code_at(secret, steps=5)).status_code == 401


def test_a_recovery_code_is_good_once_and_tells_its_owner(alice: Any, app: Any, mailoutbox: Any) -> None:
    """E20."""
    from accounts import letters

    _, codes = app
    assert [sign_in(code=codes[0]).status_code, sign_in(code=codes[0]).status_code] == [200, 401]
    assert sign_in(code=codes[1].replace("-", " ")).status_code == 200
    assert second_factor.codes_left(alice) == 8
    letters.send_due()
    assert any("a recovery code was used" in letter.body for letter in mailoutbox)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("which", ["app", "recovery"])
def test_of_ten_that_come_with_one_code_at_once_one_gets_in(alice: Any, which: str) -> None:
    """E20, E08: under a lock in the row, on any database."""
    from django.db import connections

    secret, codes = set_up(alice)
    code = code_at(secret) if which == "app" else codes[0]

    def attempt(_: int) -> bool:
        try:
            return second_factor.spend_code(alice, code) is not None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(attempt, range(10))) == 1


def test_codes_can_not_be_guessed(alice: Any, bob: Any, app: Any) -> None:
    """E07: 20 tries, from wherever; the password's own count is another."""
    answers = [
        APIClient().post(
            "/api/auth/sign-in", {"email": "alice", "password": PASSWORD, "code": f"{n:06}"}, format="json", REMOTE_ADDR=f"198.51.100.{n}"
        )
        for n in range(22)
    ]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2
    assert APIClient().post("/api/auth/sign-in", {"email": "bob", "password": PASSWORD}, format="json").status_code == 200


def test_secrets_are_not_in_the_database_as_they_are(alice: Any, app: Any) -> None:
    """I03."""
    secret, codes = app
    stored = " ".join(str(row.data) for row in Authenticator.objects.filter(user=alice))
    assert secret not in stored
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)


# ---- pages


def test_the_sign_in_page_asks_for_the_code_before_there_is_a_session(client: Client, alice: Any, app: Any) -> None:
    secret, codes = app
    answer = client.post("/login", {**FORM, "next": "/containers"})
    assert answer.headers["Location"] == "/login/code"
    assert client.get("/api/whoami").status_code == 401
    assert client.get("/profile").headers["Location"].startswith("/login")
    assert "wrong, or was used before" in client.post("/login/code", {"code": "000000"}).content.decode()
    assert client.post("/login/code", {"code": code_at(secret)}).headers["Location"] == "/containers"
    assert client.get("/profile").status_code == 200
    other = Client()
    other.post("/login", FORM)
    assert other.post("/login/code", {"code": codes[3]}).status_code == 302
    assert "A recovery code was used; 9 are left" in other.get("/profile").content.decode()


def test_the_step_in_between_ends_with_time_and_with_another_password(client: Client, alice: Any, app: Any) -> None:
    client.post("/login", FORM)
    alice.set_password("another long phrase")
    alice.save()
    assert client.get("/login/code").headers["Location"] == "/login"
    client.post("/login", {**FORM, "password": "another long phrase"})
    assert client.get("/login/code").status_code == 200
    with time_machine.travel(clock.now() + timedelta(minutes=11)):
        assert client.get("/login/code").headers["Location"] == "/login"
    client.post("/login/over")
    assert client.get("/login/code").headers["Location"] == "/login"


def confirmed(client: Client, user: Any) -> Client:
    client.force_login(user)
    assert client.post("/confirm", {"password": PASSWORD}).status_code == 302
    return client


def test_the_pages_set_it_up_and_take_it_away(client: Client, alice: Any) -> None:
    client.force_login(alice)
    assert client.get("/settings/totp").headers["Location"] == "/confirm?next=%2Fsettings%2Ftotp"
    assert "It is wrong." in client.post("/confirm", {"password": "wrong"}).content.decode()
    assert client.post("/confirm", {"password": PASSWORD, "next": "/settings/totp"}).headers["Location"] == "/settings/totp"
    page = client.get("/settings/totp").content.decode()
    assert "data:image/svg+xml;base64," in page
    draft = re.search(r'name="draft" value="([^"]+)"', page)
    assert draft is not None
    secret = second_factor.draft_secret(alice, draft[1])
    wrong = client.post("/settings/totp", {"draft": draft[1], "code": "1"})
    assert draft[1] in wrong.content.decode(), "the app need not be set up again after a typo"
    shown = client.post("/settings/totp", {"draft": draft[1], "code": code_at(secret)}).content.decode()
    assert len(re.findall(r"<li>\d{5}-\d{5}</li>", shown)) == 10
    assert "10 are left" in client.get("/settings").content.decode()
    again = client.post("/settings/codes").content.decode()
    assert len(set(re.findall(r"\d{5}-\d{5}", again)) - set(re.findall(r"\d{5}-\d{5}", shown))) == 10
    assert client.post("/settings/totp/remove").headers["Location"] == "/settings"
    assert not Authenticator.objects.filter(user=alice).exists(), "codes go with what they recover"


def test_a_session_left_open_changes_no_credentials(client: Client, api: APIClient, alice: Any, app: Any) -> None:
    """E17: after CONFIRM_SECONDS the password or a code is asked for again."""
    client.force_login(alice)
    for path in ("/settings/totp/remove", "/settings/codes", "/settings/passkeys/1/remove"):
        assert client.post(path).headers["Location"] == "/confirm?next=%2Fsettings", path
    assert client.post("/settings/passkeys/options").json()["code"] == "confirm_required"
    secret, _ = app
    headers = bearer(sign_in(code=code_at(secret)).json()["access"])
    AuthSession.objects.update(confirmed_at=clock.now() - timedelta(hours=1))
    for method, path in (("delete", "totp"), ("post", "totp"), ("post", "recovery-codes"), ("delete", "passkeys/1")):
        assert getattr(api, method)(f"{FACTOR}/{path}", headers=headers).json()["code"] == "confirm_required"
    assert second_factor.has(alice)
    assert api.post("/api/auth/confirm", {"code": code_at(secret, steps=1)}, format="json", headers=headers).status_code == 200
    assert api.delete(f"{FACTOR}/totp", headers=headers).status_code == 204


def test_an_api_key_comes_near_no_credentials(api: APIClient, alice: Any) -> None:
    _, secret = keys.create_key(alice, name="ci", scopes=["containers.view"], actor=alice.as_actor())
    for method, path in (("get", ""), ("post", "/totp"), ("put", "/totp"), ("delete", "/totp"), ("post", "/recovery-codes")):
        assert getattr(api, method)(FACTOR + path, headers=bearer(secret)).json()["code"] == "key_not_enough"


# ---- policy


def test_whom_the_policy_asks(alice: Any, root: Any, settings: Any) -> None:
    from accounts.standing import hold_of

    assert [hold_of(alice), hold_of(root)] == [None, None]
    settings.SECOND_FACTOR = "administrators"
    hold = hold_of(root)
    assert hold is not None and hold.code == "second_factor_required"
    assert hold_of(alice) is None
    settings.SECOND_FACTOR = "everyone"
    assert hold_of(alice) is not None
    set_up(alice)
    assert hold_of(type(alice).objects.get(pk=alice.pk)) is None


def test_it_holds_for_api_keys_and_pages(api: APIClient, client: Client, alice: Any, settings: Any) -> None:
    settings.SECOND_FACTOR = "everyone"
    headers = bearer(sign_in().json()["access"])
    assert api.get("/api/containers", headers=headers).json()["code"] == "second_factor_required"
    assert api.get("/api/auth/session", headers=headers).status_code == 200
    assert api.get(FACTOR, headers=headers).json()["asked_for"] is True
    _, key = keys.create_key(alice, name="ci", scopes=["containers.view"], actor=alice.as_actor())
    assert api.get("/api/containers", headers=bearer(key)).json()["code"] == "second_factor_required"
    confirmed(client, alice)
    assert client.get("/containers").headers["Location"] == "/settings"
    assert client.get("/", headers={"HX-Request": "true"}).headers["HX-Redirect"] == "/settings"
    assert client.get("/api/containers").json()["code"] == "second_factor_required", "the cookie, too"
    assert "asks you for a second factor" in client.get("/settings").content.decode()
    assert client.get("/settings/totp").status_code == 200
    begun = api.post(f"{FACTOR}/totp", headers=headers).json()
    api.put(f"{FACTOR}/totp", {"draft": begun["draft"], "code": code_at(begun["secret"])}, format="json", headers=headers)
    assert api.get("/api/containers", headers=headers).status_code == 200
    assert client.get("/containers").status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["token", "cookie", "message"])
@pytest.mark.parametrize("why", ["factor", "password"])
async def test_it_holds_for_sockets(alice: Any, settings: Any, way: str, why: str) -> None:
    """E05, D10."""
    from accounts.services import sign_in as token_for
    from tests.containers.live.test_socket import Browser

    pair = await sync_to_async(token_for)(alice, address=None, user_agent="")
    if why == "factor":
        settings.SECOND_FACTOR = "everyone"
    else:
        await sync_to_async(type(alice).objects.filter(pk=alice.pk).update)(must_change_password=True)
    socket = Browser(alice) if way == "cookie" else Browser(None, **({"authorization": f"Bearer {pair.access}"} if way == "token" else {}))
    await socket.open()
    if way == "message":
        await socket.say(type="authenticate", token=pair.access)
    closed = await socket.hear(seconds=20)
    assert (closed["code"], closed["reason"]) == (4403, f"{'second_factor' if why == 'factor' else 'password_change'}_required")


@pytest.mark.django_db(transaction=True)
async def test_a_socket_that_was_open_ends_when_its_person_is_held(alice: Any) -> None:
    """D10: told at once by an administrator's reset, else found within 5 s."""
    from tests.containers.live.test_socket import signed_in

    browser = await signed_in(alice)
    await sync_to_async(type(alice).objects.filter(pk=alice.pk).update)(must_change_password=True)
    assert (await browser.hear(kind="nothing", seconds=30))["code"] == 4403


def test_an_administrator_helps_somebody_who_lost_the_phone(alice: Any, app: Any, mailoutbox: Any) -> None:
    from accounts import letters

    call_command("reset_second_factor", "alice@example.org")
    assert sign_in().status_code == 200
    assert Entry.objects.get(action="accounts.factor_reset").actor_kind == "system"
    letters.send_due()
    assert any("removed by an administrator" in letter.body for letter in mailoutbox)


REFUSALS: dict[str, Callable[[Any], Any]] = {
    "no app": lambda api: api.delete(f"{FACTOR}/totp"),
    "no passkey": lambda api: api.delete(f"{FACTOR}/passkeys/1"),
    "a passkey's id without end": lambda api: api.delete(f"{FACTOR}/passkeys/{10**30}"),
}


@pytest.mark.parametrize("act", REFUSALS.values(), ids=REFUSALS.keys())
def test_what_is_not_there_is_404(alice: Any, act: Callable[[Any], Any]) -> None:
    """D01, H09."""
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {sign_in().json()['access']}")
    assert act(api).status_code == 404
