"""GitHub and Discord against a provider of our own: whom an answer signs in, makes, links, and what it is not enough for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount, SocialToken
from allauth.socialaccount.providers.discord.views import DiscordOAuth2Adapter
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from accounts.social import dialects
from audit.models import Entry
from tests.accounts.conftest import PASSWORD, bearer
from tests.accounts.idp import IdentityProvider
from tests.accounts.test_second_factor import code_at, set_up

pytestmark = pytest.mark.redis
BOTH = pytest.mark.parametrize("name", ["github", "discord"])


@pytest.fixture(scope="module")
def server() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()
    yield provider
    provider.stop()


@pytest.fixture
def idp(server: IdentityProvider, settings: Any, monkeypatch: pytest.MonkeyPatch, roles: Any) -> IdentityProvider:
    server.reset()
    settings.SOCIAL_PROVIDERS = {"github": True, "discord": True}
    settings.SOCIALACCOUNT_PROVIDERS = {
        name: {"APPS": [{"client_id": f"{name}-client", "secret": "the-secret"}], "OAUTH_PKCE_ENABLED": True} for name in ("github", "discord")
    }
    here = {
        GitHubOAuth2Adapter: {
            "access_token_url": "/login/oauth/access_token",
            "authorize_url": "/login/oauth/authorize",
            "profile_url": "/api/v3/user",
            "emails_url": "/api/v3/user/emails",
        },
        DiscordOAuth2Adapter: {"access_token_url": "/api/oauth2/token", "authorize_url": "/api/oauth2/authorize", "profile_url": "/api/users/@me"},
    }
    for adapter, addresses in here.items():
        for attribute, path in addresses.items():
            monkeypatch.setattr(adapter, attribute, server.url + path)
    says(server)
    return server


def says(idp: IdentityProvider, *, uid: int = 4711, email: Any = "dora@example.org", verified: Any = True, login: str = "dora-dev") -> None:
    """The same person in both dialects."""
    idp.github = {"id": uid, "login": login, "name": "Dora D.", "email": None}
    idp.emails = [{"email": email, "verified": verified, "primary": True}] if email is not None else []
    idp.discord = {"id": str(uid), "username": login, "global_name": "Dora D.", "email": email, "verified": verified}


def go(client: Client, idp: IdentityProvider, name: str, **form: str) -> Any:
    """Off to the provider, yes, and back."""
    off = client.post(f"/accounts/{name}/login/", form)
    assert off.status_code == 302 and off.headers["Location"].startswith(idp.url), off.headers
    return client.get(idp.consent(off.headers["Location"]))


def who(client: Client) -> str | None:
    answer = client.get("/api/whoami")
    return answer.json()["email"] if answer.status_code == 200 else None


# ---- first time


@BOTH
def test_a_verified_address_makes_an_account_and_signs_in_to_it_ever_after(client: Client, idp: IdentityProvider, name: str) -> None:
    """E14: found again by the provider's number, whatever name or address changed meanwhile."""
    answer = go(client, idp, name, next="/containers")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/containers")
    dora = User.objects.get(email="dora@example.org")
    assert (dora.username, dora.name, dora.email_is_verified, dora.has_usable_password()) == ("dora-dev", "Dora D.", True, False)
    assert dora.role is not None and dora.role.slug == "member"
    assert who(client) == "dora@example.org"
    assert Entry.objects.get(action="accounts.sign_in").after["by"] == name
    says(idp, email="dora@changed.example", login="renamed")
    other = Client()
    go(other, idp, name)
    assert who(other) == "dora@example.org", "the address here changes only here"
    assert User.objects.count() == 1
    assert SocialAccount.objects.get().extra_data == {"login": "renamed", "name": "Dora D.", "email": "dora@changed.example"}
    assert not SocialToken.objects.exists(), "I03: tokens of providers are not kept"


@BOTH
@pytest.mark.parametrize("verified", [False, "false", "true", 1, None, "yes", []], ids=repr)
def test_an_address_that_is_not_verified_opens_nothing(client: Client, idp: IdentityProvider, alice: Any, name: str, verified: Any) -> None:
    """E12: only a JSON true counts, neither a text nor a number."""
    says(idp, email="alice@example.org", verified=verified)
    answer = go(client, idp, name)
    assert answer.status_code == 403
    assert "names no verified e-mail address" in answer.content.decode()
    says(idp, email="new@example.org", verified=verified)
    assert go(client, idp, name).status_code == 403
    assert who(client) is None
    assert (User.objects.count(), SocialAccount.objects.count()) == (1, 0)


@BOTH
@pytest.mark.parametrize("email", [None, "", "no address", 5, ["dora@example.org"], "a" * 300 + "@example.org"], ids=repr)
def test_without_an_address_there_is_no_account(client: Client, idp: IdentityProvider, name: str, email: Any) -> None:
    says(idp, email=email)
    assert go(client, idp, name).status_code == 403
    assert User.objects.count() == 0


def test_sign_up_may_be_off_for_providers_too(client: Client, idp: IdentityProvider, settings: Any) -> None:
    settings.SIGNUP_ENABLED = False
    answer = go(client, idp, "github")
    assert (answer.status_code, User.objects.count()) == (403, 0)
    assert "Sign-up is off here" in answer.content.decode()


# ---- linking


@BOTH
def test_it_links_itself_only_where_both_sides_proved_the_address(client: Client, idp: IdentityProvider, alice: Any, name: str) -> None:
    """E12."""
    says(idp, email="alice@example.org")
    refused = go(client, idp, name)
    assert refused.status_code == 409
    assert "sign in to it first" in refused.content.decode()
    assert (who(client), SocialAccount.objects.count()) == (None, 0)
    User.objects.filter(pk=alice.pk).update(verified_email="alice@example.org")
    go(client, idp, name)
    assert who(client) == "alice@example.org"
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert Entry.objects.filter(action="accounts.connect", outcome="ok").count() == 1


def test_an_administrator_is_never_linked_by_a_mailbox_alone(client: Client, idp: IdentityProvider, root: Any) -> None:
    """E12, D08."""
    User.objects.filter(pk=root.pk).update(verified_email=root.email)
    says(idp, email=root.email)
    assert go(client, idp, "github").status_code == 409
    assert who(client) is None


def test_who_signed_up_in_anothers_name_loses_the_account_to_the_address_owner(
    client: Client, idp: IdentityProvider, alice: Any, settings: Any
) -> None:
    """E13: the stranger's password, never proved, is void."""
    settings.EMAIL_VERIFICATION = True
    User.objects.filter(pk=alice.pk).update(must_verify_email=True)
    says(idp, email="alice@example.org")
    go(client, idp, "github")
    assert who(client) == "alice@example.org"
    alice.refresh_from_db()
    assert (alice.has_usable_password(), alice.must_verify_email, alice.email_is_verified) == (False, False, True)
    assert APIClient().post("/api/auth/sign-in", {"email": "alice", "password": PASSWORD}, format="json").status_code == 401


@BOTH
def test_a_signed_in_person_connects_whatever_the_address_and_disconnects(client: Client, idp: IdentityProvider, alice: Any, name: str) -> None:
    says(idp, email="quite@other.example", verified=False)
    client.force_login(alice)
    assert client.post(f"/accounts/{name}/login/", {"process": "connect"}).headers["Location"] == "/confirm?next=/settings", "E17"
    client.post("/confirm", {"password": PASSWORD})
    assert go(client, idp, name, process="connect").headers["Location"] == "/settings"
    assert "dora-dev" in client.get("/settings").content.decode()
    fresh = Client()
    go(fresh, idp, name)
    assert who(fresh) == "alice@example.org"
    row = SocialAccount.objects.get()
    assert client.post(f"/settings/connections/{row.pk}/remove").headers["Location"] == "/settings"
    assert go(Client(), idp, name).status_code == 403


def test_one_account_there_opens_one_here(client: Client, idp: IdentityProvider, alice: Any, bob: Any) -> None:
    SocialAccount.objects.create(user=bob, provider="github", uid="4711")
    client.force_login(alice)
    client.post("/confirm", {"password": PASSWORD})
    assert "signs in to another account" in go(client, idp, "github", process="connect").content.decode()
    SocialAccount.objects.create(user=alice, provider="discord", uid="1")
    assert "disconnect it first" in go(client, idp, "discord", process="connect").content.decode()
    assert SocialAccount.objects.count() == 2


def test_a_connection_that_another_began_is_not_made(client: Client, idp: IdentityProvider, alice: Any, bob: Any) -> None:
    """E14: who comes back must be who went, signed in all the while."""
    client.force_login(alice)
    client.post("/confirm", {"password": PASSWORD})
    off = client.post("/accounts/github/login/", {"process": "connect"})
    client.force_login(bob)
    back = client.get(idp.consent(off.headers["Location"]))
    assert back.status_code in (400, 403)
    assert not SocialAccount.objects.exists()


def test_nobody_locks_themselves_out(client: Client, idp: IdentityProvider, api: APIClient) -> None:
    go(client, idp, "github")
    row = SocialAccount.objects.get()
    page = client.post(f"/settings/connections/{row.pk}/remove", follow=True)
    assert "only way to sign in" in page.content.decode()
    assert SocialAccount.objects.exists()
    assert "Set a password" in client.get("/password").content.decode()
    assert client.post("/password", {"password": "a phrase of words", "repeated": "a phrase of words"}).status_code == 302
    assert client.post(f"/settings/connections/{row.pk}/remove").status_code == 302
    assert not SocialAccount.objects.exists()
    token = api.post("/api/auth/sign-in", {"email": "dora@example.org", "password": "a phrase of words"}, format="json").json()["access"]
    assert api.get("/api/auth/connections", headers=bearer(token)).json() == {"connections": []}


def test_a_second_factor_is_asked_for_after_a_provider_too(client: Client, idp: IdentityProvider, alice: Any) -> None:
    SocialAccount.objects.create(user=alice, provider="github", uid="4711")
    secret, _ = set_up(alice)
    assert go(client, idp, "github", next="/containers").headers["Location"] == "/login/code"
    assert who(client) is None
    assert client.post("/login/code", {"code": code_at(secret)}).headers["Location"] == "/containers"
    assert who(client) == "alice@example.org"


def test_a_deactivated_account_stays_shut(client: Client, idp: IdentityProvider, alice: Any) -> None:
    """E03."""
    SocialAccount.objects.create(user=alice, provider="github", uid="4711")
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert go(client, idp, "github").status_code == 403
    assert who(client) is None


# ---- the protocol


def test_only_what_this_browser_began_at_this_provider_is_finished_and_once(client: Client, idp: IdentityProvider) -> None:
    """E14."""
    off = client.post("/accounts/github/login/")
    back = idp.consent(off.headers["Location"])
    state = back.rpartition("state=")[2]
    for path in (
        back.replace(state, "x" * 16),
        back.replace(f"&state={state}", ""),
        back.replace("/github/", "/discord/"),
    ):
        answer = client.get(path)
        assert (answer.status_code, "Begin again" in answer.content.decode()) == (400, True), path
    assert Client().get(back).status_code == 400, "another browser"
    assert client.get(back).status_code == 302
    assert client.get(back).status_code == 400, "again"
    assert User.objects.count() == 1


def test_it_begins_by_post_with_csrf_only(idp: IdentityProvider) -> None:
    """H02."""
    strict = Client(enforce_csrf_checks=True)
    assert strict.get("/accounts/github/login/").headers["Location"] == "/login"
    assert strict.post("/accounts/github/login/").status_code == 403
    assert not any(path.endswith("authorize") for path in idp.asked)


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"])
def test_it_comes_back_to_this_panel_only(client: Client, idp: IdentityProvider, to: str) -> None:
    """E15."""
    assert go(client, idp, "github", next=to).headers["Location"] == "/"


def test_saying_no_there_changes_nothing_here(client: Client, idp: IdentityProvider) -> None:
    state = client.post("/accounts/github/login/").headers["Location"].partition("state=")[2].partition("&")[0]
    answer = client.get(f"/accounts/github/login/callback/?error=access_denied&state={state}")
    assert "You said no there" in answer.content.decode()
    assert User.objects.count() == 0


FAULTS: dict[str, Any] = {
    "server error": lambda handler: IdentityProvider.say(handler, 500, {"message": "boom"}),
    "no json": lambda handler: IdentityProvider.say(handler, 200, None, raw=b"<html>"),
    "a list": lambda handler: IdentityProvider.say(handler, 200, [1, 2]),
    "nothing": lambda handler: IdentityProvider.say(handler, 200, {}),
    "null": lambda handler: IdentityProvider.say(handler, 200, None),
    "a name for an id": lambda handler: IdentityProvider.say(handler, 200, {"id": "alice", "access_token": 5}),
    "hangs up": lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
}


@pytest.mark.parametrize("path", ["/login/oauth/access_token", "/api/v3/user", "/api/v3/user/emails", "/api/oauth2/token", "/api/users/@me"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_provider_in_trouble_makes_a_page_that_says_so(client: Client, idp: IdentityProvider, path: str, fault: Any) -> None:
    """H09, R48: never a 500, never an account."""
    idp.fail[path] = fault
    name = "discord" if "v3" not in path and "login" not in path else "github"
    answer = go(client, idp, name)
    no_address = path.endswith("emails") and answer.status_code == 403
    assert answer.status_code == 502 or no_address, answer.content
    assert (who(client), User.objects.count()) == (None, 0)


def test_a_provider_that_never_answers_is_left_in_seconds(client: Client, idp: IdentityProvider, settings: Any) -> None:
    """R48."""
    settings.SOCIALACCOUNT_REQUESTS_TIMEOUT = 1
    over = threading.Event()
    idp.fail["/api/v3/user"] = lambda handler: over.wait(60)
    assert go(client, idp, "github").status_code == 502
    over.set()


def test_a_provider_that_is_down(client: Client, idp: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GitHubOAuth2Adapter, "access_token_url", "http://127.0.0.1:9/")
    answer = go(client, idp, "github")
    assert (answer.status_code, "Try again in a minute" in answer.content.decode()) == (502, True)


def test_what_is_not_configured_is_not_there(client: Client, db: None) -> None:
    assert client.post("/accounts/github/login/").status_code == 404
    assert client.get("/accounts/discord/login/callback/?state=x").status_code == 404
    assert "GitHub" not in client.get("/login").content.decode()
    ways = {way["id"]: way["configured"] for way in client.get("/api/auth/providers").json()["providers"]}
    assert ways == {"email": True, "github": False, "discord": False}


def test_what_is_configured_is_shown(client: Client, idp: IdentityProvider) -> None:
    page = client.get("/login").content.decode()
    assert "Continue with GitHub" in page and "Continue with Discord" in page
    ways = {way["id"]: way for way in client.get("/api/auth/providers").json()["providers"]}
    assert (ways["github"]["configured"], ways["github"]["url"]) == (True, "/accounts/github/login/")


@pytest.mark.parametrize("uid", [None, True, "", "x", "1 or 1", -5, 1.5, [], {}, "٣", "9" * 41], ids=repr)
def test_only_a_providers_number_is_an_identity(uid: Any) -> None:
    """E14."""
    with pytest.raises(dialects.Nonsense):
        dialects.github({"id": uid}, [])
    with pytest.raises(dialects.Nonsense):
        dialects.discord({"id": uid})
