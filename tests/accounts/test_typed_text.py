"""What people type about themselves is text wherever it is shown."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.utils.html import escape

from accounts import keys, letters
from accounts.models import Letter, User
from lormas.common import clock
from tests.accounts.conftest import PASSWORD
from tests.accounts.test_settings_pages import browser

pytestmark = pytest.mark.redis
MARKUP = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "</title><script>alert(1)</script>",
    "{{ 7*7 }}{% debug %}",
    "<a href=javascript:alert(1)>x</a>",
    "<!--<script>",
]


@pytest.mark.parametrize("text", MARKUP)
def test_what_was_typed_is_text_on_every_page_and_in_every_letter(alice: Any, root: Any, text: str) -> None:
    """H01: names of people, keys, passkeys and connections, and what a browser calls itself."""
    User.objects.filter(pk=alice.pk).update(name=text[:128])
    alice.refresh_from_db()
    mine = browser(alice, agent=text)
    mine.post("/confirm", {"password": PASSWORD})
    keys.create_key(alice, name=text[:64], scopes=["containers.view"], actor=alice.as_actor())
    Authenticator.objects.create(user=alice, type="webauthn", data={"name": text, "credential": {}}, created_at=clock.now())
    SocialAccount.objects.create(user=alice, provider="github", uid="1", extra_data={"login": text, "name": text, "email": text})
    pages = ["/profile", "/settings", "/settings/sessions", "/settings/keys", "/settings/totp", "/settings/email", "/password", "/confirm", "/"]
    shown = 0
    for path in pages:
        answer = mine.get(path)
        assert answer.status_code == 200, path
        page = answer.content.decode()
        assert text not in page or text == escape(text), path
        shown += escape(text) in page
    assert shown >= 4, "it is shown, as text"
    everybody = browser(root).get("/users").content.decode()
    assert text not in everybody or text == escape(text)
    for kind in ("reset", "known", "password_changed"):
        message = letters._message(Letter(kind=kind, user=alice, values={"from": text, "time": text, "what": text}))
        letter = str(message.alternatives[0][0])
        assert text not in letter or text == escape(text)
