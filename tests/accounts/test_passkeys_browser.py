"""Passkeys in a real browser with a virtual device: added, used alone and as second factor, refused when the device says no; the settings pages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from accounts import second_factor
from accounts.models import AuthSession
from audit.models import Entry
from lormas import assets
from tests import axe
from tests.accounts.conftest import PASSWORD
from tests.accounts.test_second_factor import set_up
from tests.chromium import complaint, launched, opened
from tests.nodes.rig import Panel

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]


@pytest.fixture
def panel(transactional_db: None, tmp_path: Path) -> Iterator[Panel]:
    assets.build()
    process = Panel(log=tmp_path / "panel.log", RATE_LIMIT_SIGN_IN_ADDRESS="10000/1m").start()
    yield process
    process.stop()


@pytest.fixture
def chromium(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # playwright's sync API has a loop running in this thread
    with launched() as browser:
        yield browser


class Person:
    """A browser with a device that makes passkeys."""

    def __init__(self, browser: Any, panel: Panel) -> None:
        self.page = browser.new_context().new_page()
        self.base = f"http://localhost:{panel.port}"  # browsers give no passkeys for bare addresses
        self.complaints: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if complaint(m) else None)
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.device = self.page.context.new_cdp_session(self.page)
        self.device.send("WebAuthn.enable")
        options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}
        options["automaticPresenceSimulation"] = True
        self.authenticator = self.device.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    def owner_is_there(self, yes: bool) -> None:
        self.device.send("WebAuthn.setUserVerified", {"authenticatorId": self.authenticator, "isUserVerified": yes})

    def go(self, path: str) -> Any:
        opened(self.page, self.base + path)
        return self.page

    def arrives(self, path: str, *, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.page.url == self.base + path:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"is at {self.page.url}, not at {path}: {self.page.inner_text('body')[:500]}")

    def sees(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=30_000)

    def password(self, to: str = "/") -> None:
        self.go("/login?next=/profile")
        self.page.fill("#id_login", "alice")
        self.page.fill("#id_password", PASSWORD)
        self.page.click("button.primary")
        self.arrives(to)

    def sign_out(self) -> None:
        self.go("/profile")
        self.page.locator("[hx-trigger='load']").wait_for(state="detached", timeout=60_000)  # a part that came after it would ask to sign in again
        self.page.evaluate("document.querySelector('form[action=\"/logout\"]').submit()")
        self.arrives("/login")


def test_the_life_of_a_passkey(chromium: Any, panel: Panel, alice: Any, settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]  # the panel's process knows no other
    alice.set_password(PASSWORD)
    alice.save()
    person = Person(chromium, panel)
    page = person.page
    # added while signed in; the first one brings recovery codes
    person.password("/profile")
    person.go("/settings")
    page.fill("#passkey-name", "Laptop")
    page.get_by_role("button", name="Add a passkey").click()
    page.locator("#passkey-codes").wait_for(state="visible", timeout=30_000)
    assert page.locator("#passkey-codes li").count() == 10
    page.get_by_role("link", name="I have kept them").click()
    person.sees("Laptop")
    row = Authenticator.objects.get(user=alice, type="webauthn")
    assert second_factor.codes_left(alice) == 10
    # the same device twice: told, and nothing happens
    page.get_by_role("button", name="Add a passkey").click()
    person.sees("This device has a passkey of this account already.")
    # alone at the door
    person.sign_out()
    person.go("/login?next=/settings/sessions")
    page.get_by_role("button", name="Sign in with a passkey").click()
    person.arrives("/settings/sessions")
    person.sees("This one")
    assert Entry.objects.filter(action="accounts.sign_in", after__by="passkey").count() == 1
    row.refresh_from_db()
    assert row.last_used_at is not None
    # as second factor, after the password
    person.sign_out()
    person.password("/login/code")
    page.get_by_role("button", name="Use a passkey").click()
    person.arrives("/profile")
    # to confirm who one is
    AuthSession.objects.update(confirmed_at=None)
    person.go("/password")
    person.go("/settings/totp")
    page.get_by_role("button", name="Use a passkey").click()
    person.arrives("/settings/totp")
    # the device finds somebody else in front of it
    person.sign_out()
    person.owner_is_there(False)
    page.get_by_role("button", name="Sign in with a passkey").click()
    person.sees("Nothing was chosen")
    assert page.url == person.base + "/login"
    person.owner_is_there(True)
    # removed: it opens nothing any more
    person.password("/login/code")
    page.get_by_role("button", name="Use a passkey").click()
    person.arrives("/profile")
    person.go("/settings")
    page.get_by_role("button", name="Remove the passkey Laptop").click()
    page.locator("dialog[open]").get_by_role("button", name="Remove", exact=True).click()
    page.locator("text=The passkey was removed").first.wait_for(timeout=30_000)
    assert not Authenticator.objects.filter(user=alice).exists()
    person.sign_out()
    page.get_by_role("button", name="Sign in with a passkey").click()
    person.sees("This passkey opens no account here.")
    assert [line for line in person.complaints if "401" not in line] == []


def test_a_form_that_comes_back_puts_one_at_what_is_wrong(chromium: Any, panel: Panel, alice: Any, root: Any, settings: Any) -> None:
    """On a phone the form stands below all that is told of the account; in place of the field that has the focus otherwise."""
    from playwright.sync_api import expect

    client = Client()
    client.force_login(root)
    cookie = {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": f"http://localhost:{panel.port}",
    }
    context = chromium.new_context(viewport={"width": 390, "height": 740})
    context.add_cookies([cookie])
    page = context.new_page()
    for address, field, wrong in ((f"/users/{alice.pk}", "username", "root"), ("/users/new", "username", "a b")):
        opened(page, f"http://localhost:{panel.port}{address}")
        if address == "/users/new":
            page.fill("[name=email]", "new@example.org")
        page.fill(f"[name={field}]", wrong)
        page.locator("main form:has([name=username]) button.primary").click()
        expect(page.locator(f"[name={field}][aria-invalid=true]")).to_be_focused(timeout=30_000)
        expect(page.locator(f"[name={field}]")).to_be_in_viewport(timeout=30_000)
    opened(page, f"http://localhost:{panel.port}/roles/new")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("scrollY") == 0, "a form that was not sent is where it always was"
    context.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_page_of_mine_has_a_serious_finding_or_scrolls_sideways(chromium: Any, panel: Panel, alice: Any, settings: Any) -> None:
    """WCAG 2.2 AA in both themes; 360 px wide; nothing against the policy."""
    from accounts import keys

    client = Client()
    client.force_login(alice)
    client.post("/confirm", {"password": PASSWORD})
    set_up(alice)
    keys.create_key(
        alice, name="a key with a name that is as long as a name may be, sixty-four in", scopes=["containers.view"], actor=alice.as_actor()
    )
    cookie = {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": f"http://localhost:{panel.port}",
    }
    gate = ["/login", "/signup", "/password/forgot", "/login/mailed/reset", "/signup/again", "/verify/x"]
    mine = ["/profile", "/settings", "/settings/sessions", "/settings/keys", "/password", "/settings/email", "/confirm"]
    for theme in ("light", "dark"):
        context = chromium.new_context(color_scheme=theme, viewport={"width": 360, "height": 740})
        page = context.new_page()
        axe.bring(page)
        said: list[str] = []
        page.on("console", lambda m, said=said: said.append(m.text) if complaint(m) else None)
        for address in [*gate, *mine]:
            if address == mine[0]:
                context.add_cookies([cookie])
            opened(page, f"http://localhost:{panel.port}{address}")
            bad = axe.seriously_wrong(page, theme)
            assert not bad, f"{address} {theme}: {bad}"
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, address
        assert [line for line in said if "422" not in line] == []  # of /verify/x
        context.close()
