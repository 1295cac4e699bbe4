"""Indonesian: sign-in, settings, people, roles, access, journal and the frame around every page."""

from __future__ import annotations

import gettext
import html
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.capabilities import BUILT_IN_ROLES, CAPABILITIES
from accounts.models import Role
from lormas import wiring
from nodes.jobtitles import TITLES

FOLDER = Path(__file__).parents[2] / "locale" / "id" / "LC_MESSAGES"
PLACE = re.compile(r"%\(\w+\)[sd]|<[^>]+>")


def texts() -> dict[str, str]:
    """What is compiled: English -> Indonesian."""
    with (FOLDER / "django.mo").open("rb") as file:
        found: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return {key if isinstance(key, str) else key[0]: said for key, said in found.items() if key}


def test_each_text_says_the_same_things_and_the_compiled_file_is_as_the_source() -> None:
    source = (FOLDER / "django.po").read_text(encoding="utf-8")
    assert "fuzzy" not in source
    entry = re.compile(r'^(?:msgctxt "(.+)"\n)?msgid "(.+)"\n(?:msgid_plural "(.+)"\n)?msgstr(?:\[0\])? "(.+)"$', re.MULTILINE)
    written = [tuple(text.replace('\\"', '"') for text in found) for found in entry.findall(source)]
    assert len(written) > 450 and len(written) == source.count("\nmsgid ") - 1
    for _, english, plural, said in written:
        assert set(PLACE.findall(said)) == set(PLACE.findall(english + plural)), english
    assert {f"{context}\4{english}" if context else english: said for context, english, _, said in written} == texts(), "run scripts/messages"


@pytest.mark.redis
def test_a_browser_that_asks_for_indonesian_gets_it(root: Any) -> None:
    strangers = Client(headers={"accept-language": "id,en;q=0.5"})
    page = strangers.get("/login").content.decode()
    assert 'lang="id"' in page and "E-mail atau nama pengguna" in page and "Tetap masuk" in page
    strangers.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    for path, words in {
        "/users": "Cari pengguna",
        "/roles": "Siapa boleh apa",
        "/audit": "Cari di jurnal",
        "/settings": "Aplikasi autentikator",
    }.items():
        page = strangers.get(path).content.decode()
        assert words in page and "Dasbor" in page, path
    assert 'lang="en"' in Client().get("/login").content.decode()


@pytest.mark.redis
def test_rights_and_built_in_roles_are_said_in_the_readers_language_and_own_ones_as_they_were_typed(root: Any, alice: Any) -> None:
    own = Role.objects.create(slug="own", name="Viewer", description="Looks, and changes nothing.", capabilities=["containers.view"])
    client = Client(headers={"accept-language": "id"})
    client.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    known = texts()
    page = html.unescape(client.get("/roles").content.decode())
    missing = [one.may for one in CAPABILITIES if known[one.may] not in page.lower()] + [r.name for r in BUILT_IN_ROLES if known[r.name] not in page]
    assert missing == []
    assert page.count(">Viewer<") == 2, "a row and a column of the own role, and none of the built-in one"
    assert "Pengamat" in client.get("/users").content.decode() and "Anggota" in client.get(f"/users/{alice.pk}").content.decode()
    assert "Viewer" in client.get(f"/roles/{own.pk}").content.decode()
    assert client.get("/api/roles?search=viewer").json()["results"][0]["name"] == "Viewer", "programs read what is kept"
    assert client.get("/api/permissions").json()[0]["may"] == CAPABILITIES[0].may


@pytest.mark.redis
def test_jobs_are_titled_in_the_readers_language(root: Any) -> None:
    titles = {entry["title"] for entry in wiring.JOBS.values()}
    assert titles == TITLES, "nodes.jobtitles marks what the wiring gives"
    client = Client(headers={"accept-language": "id"})
    client.force_login(root, backend="accounts.backends.EmailOrUsernameBackend")
    page = html.unescape(client.get("/jobs").content.decode())
    assert [title for title in titles if texts()[title] not in page] == []
