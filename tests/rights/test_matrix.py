"""The authorization matrix: every route x every caller, with the literal code that each gets (issue "Accounts", SECURITY group D).

The table is `matrix.txt`. A route or method that is not in it fails here, and so does a line whose route is gone; the message holds the lines as they
are now, to be read one by one before they are pasted. Bodies are empty objects, so what is let in mostly ends with 400 or 422: what matters is that
those who are kept out get 401, 403 or 404 before anything is looked at. While they are tried, all that is written to the database is watched: looking
writes nothing, a refusal nothing but its row of the journal, an act its row beside what it did.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import get_resolver

from audit import denials
from lormas.common.ratelimit import Limit
from tests.rights.stage import CALLERS, METHODS, Stage, methods_of, routes, walk

pytestmark = pytest.mark.redis
TABLE = Path(__file__).with_name("matrix.txt")


def table() -> dict[tuple[str, str], tuple[str, ...]]:
    """(method, route) -> a code a caller, in their order."""
    lines = [line.split() for line in TABLE.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    return {(method, path): tuple(codes) for method, path, *codes in lines}


class Writes:
    """What was written, by table, less what was rolled back to a savepoint: an execute wrapper."""

    WRITE = re.compile(r'\s*(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM) "?(\w+)"?', re.IGNORECASE)
    POINT = re.compile(r'(SAVEPOINT|ROLLBACK TO SAVEPOINT|RELEASE SAVEPOINT) "?(\w+)"?')

    def __init__(self) -> None:
        self.tables: list[str] = []
        self._points: dict[str, int] = {}

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        point = self.POINT.match(sql)
        if point is not None and point[1] == "SAVEPOINT":
            self._points[point[2]] = len(self.tables)
        elif point is not None and point[1].startswith("ROLLBACK"):
            del self.tables[self._points[point[2]] :]
        result = execute(sql, params, many, context)
        written = self.WRITE.match(sql)
        inserts = sql.lstrip()[:6].upper() == "INSERT"  # what RETURNING makes of its count differs from database to database
        if written is not None and (inserts or many or context["cursor"].rowcount):
            self.tables.append(written[1])
        return result

    @property
    def rows(self) -> int:
        """Rows of the journal."""
        return self.tables.count("audit_entry")

    @property
    def acts(self) -> set[str]:
        """What else was changed. When somebody was last seen is nobody's act; a session's own notes (a toast that waits) neither."""
        return set(self.tables) - {"audit_entry", "audit_seal", "accounts_authsession", "accounts_apikey", "django_session"}


def amiss(method: str, path: str, answer: Any, wrote: Writes) -> str:
    """What is wrong with what a request wrote; empty where it is as it should be."""
    kept_out = answer.status_code in (401, 403, 404) or (answer.status_code == 302 and answer["Location"].startswith("/login?next="))
    if method == "get" and path not in OLD_ACTS:
        return "looking wrote" if wrote.acts or wrote.rows else ""
    if kept_out and (method != "get" or answer.status_code == 403):
        return "" if wrote.rows == 1 and not wrote.acts else f"refused, with {wrote.rows} rows of the journal"
    if answer.status_code >= 400:
        return f"{answer.status_code}, and half done" if wrote.acts else ""
    return "done, without a row of the journal" if wrote.acts and not wrote.rows and path not in SIGNS_OF_LIFE else ""


OLD_ACTS = ("/api/reserve", "/api/release_all")
"""Act by GET, too, by bearer token only (SURFACE section 7)."""
SIGNS_OF_LIFE = ("/api/nodes/{node_id}/heartbeat", "/api/nodes/{node_id}/resources")
"""What agents say every few seconds is no act of anybody."""


def tried(stage: Stage, caller: str, closed: set[tuple[str, str]], wrong: list[str]) -> dict[tuple[str, str], str]:
    """Every route once; what it changed is taken back."""
    found = {}
    page = stage.pages(caller)
    for path, view in routes().items():
        api = path.startswith("/api")
        client = stage.clients[caller] if api else page()
        for method in methods_of(view):
            if (method.upper(), path) in closed:
                continue
            body = {} if method == "get" else {"data": {}, "content_type": "application/json"} if api else {"data": {}}
            wrote = Writes()
            with transaction.atomic():
                with connection.execute_wrapper(wrote):
                    answer = getattr(client, method)(stage.address(path), **body)
                    if getattr(answer, "streaming", False):
                        answer.close()
                transaction.set_rollback(True)
            found[method.upper(), path] = str(answer.status_code)
            if trouble := amiss(method, path, answer, wrote):
                wrong.append(f"{caller}: {method.upper()} {path} ({answer.status_code}): {trouble} {sorted(wrote.acts)}")
    return found


def rights_second(stage: Stage, known: dict[tuple[str, str], tuple[str, ...]]) -> list[str]:
    """Doors that look at the body of somebody who has no right, before they say so: with a field that no body has, each refusal stays what it was."""
    found = []
    for caller in ("viewer", "bare-key"):
        for (method, path), codes in known.items():
            code = codes[CALLERS.index(caller)]
            if method != "GET" and path.startswith("/api/") and code in ("403", "404"):
                with transaction.atomic():
                    answer = getattr(stage.clients[caller], method.lower())(
                        stage.address(path), data={"no such field": 1}, content_type="application/json"
                    )
                    transaction.set_rollback(True)
                if str(answer.status_code) != code:
                    found.append(f"{caller}: {method} {path}: {answer.status_code} in place of {code} where the body is wrong")
    return found


def under_another(stage: Stage, known: dict[tuple[str, str], tuple[str, ...]]) -> list[str]:
    """Parts that are found under a whole that is not theirs (D02), asked by an administrator."""
    parts = {
        "grant_id": "object_id", "rollout_id": "egg_id", "orphan_id": "node_id", "copy_id": "node_id",
        "alert_id": "container_id", "backup_id": "container_id", "schedule_id": "container_id",
    }  # fmt: skip
    found = []
    page = stage.pages("administrator")
    for method, path in known:
        part = next((name for name in parts if f"{{{name}}}" in path), None)
        if part is None:
            continue
        client = stage.clients["administrator"] if path.startswith("/api") else page()
        body = {} if method == "GET" else {"data": {}, "content_type": "application/json"} if path.startswith("/api") else {"data": {}}
        with transaction.atomic():
            whole = stage.another(path, parts[part])
            answer = getattr(client, method.lower())(stage.address(path.replace(f"{{{parts[part]}}}", whole)), **body)
            transaction.set_rollback(True)
        if answer.status_code != 404:
            found.append(f"{method} {path}: {answer.status_code} under another {parts[part]}")
    return found


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nobody reads the log lines of thousands of requests."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("quiet")
def test_every_route_answers_every_caller_as_the_table_says(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """D01, D02, D03, D07, D11, H02, I04: nobody is let in by a door that the table does not open; looking and being refused change nothing; each
    refusal of a write is one row of the journal, and each write has its own."""
    monkeypatch.setattr(denials, "STRANGERS", Limit("matrix_strangers", 10**6, 60))
    monkeypatch.setattr(denials, "PEOPLE", Limit("matrix_people", 10**6, 60))
    unwritten: list[str] = []
    now = {"administrator": tried(stage, "administrator", set(), unwritten)}
    closed = {key for key, code in now["administrator"].items() if code == "405"}  # a page that takes GET only, or POST only
    now |= {caller: tried(stage, caller, closed, unwritten) for caller in CALLERS if caller != "administrator"}
    lines = {key: tuple(now[caller][key] for caller in CALLERS) for key in now["administrator"] if key not in closed}
    known = table()
    wrong = [line(key, codes) for key, codes in ordered(lines) if known.get(key) != codes]
    gone = [line(key, codes) for key, codes in ordered(known) if key not in lines]
    assert not wrong and not gone, "\n".join(["as it is now:", *wrong, "no longer there:", *gone])
    unwritten += rights_second(stage, known) + under_another(stage, known)
    assert not unwritten, "\n".join(["what was written, and should not, or was not, and should:", *unwritten])


def ordered(lines: dict[tuple[str, str], tuple[str, ...]]) -> list[tuple[tuple[str, str], tuple[str, ...]]]:
    return sorted(lines.items(), key=lambda item: (item[0][1], METHODS.index(item[0][0].lower())))


def line(key: tuple[str, str], codes: tuple[str, ...]) -> str:
    return f"{key[0]:6} {key[1]:64} {' '.join(codes)}"


def test_the_table_is_in_order_and_each_line_speaks_of_every_caller() -> None:
    known = table()
    assert [key for key, _ in ordered(known)] == list(known)
    assert {len(codes) for codes in known.values()} == {len(CALLERS)}


REFUSED = {"401", "403", "404", "405", "302"}


def test_an_ended_grant_is_worth_nothing_and_an_agent_has_its_own_doors_only() -> None:
    """D09: the columns say it of every line."""
    for (method, path), codes in table().items():
        caller = dict(zip(CALLERS, codes, strict=True))
        assert caller["expired"] == caller["stranger"], (method, path)
        if caller["node"] not in REFUSED and caller["node"] != caller["anonymous"]:
            assert path in ("/api/nodes/{node_id}/heartbeat", "/api/nodes/{node_id}/resources"), (method, path)
        if path.startswith("/api") and caller["viewer"] not in REFUSED and method != "GET":
            assert caller["viewer"] == caller["stranger"], (method, path, "a viewer changes nothing but what is their own")


def _made_of(view: Any) -> tuple[Any, Any]:
    return getattr(view, "cls", view), getattr(view, "initkwargs", None)


def test_older_words_and_the_enveloped_dialect_lead_to_the_same_views() -> None:
    found = {raw: view for raw, view in walk(get_resolver().url_patterns) if raw.startswith("/api")}
    same = 0
    for raw, view in found.items():
        for old, new in (("/api/v1/", "/api/"), ("/api/workers", "/api/nodes"), ("/api/^workers", "/api/^nodes")):
            if raw.startswith(old) and not raw.startswith("/api/v1/^workers"):
                assert _made_of(found[raw.replace(old, new, 1)]) == _made_of(view), raw
                same += 1
    assert same > 100


def test_djangos_own_pages_are_for_administrators(client: Client, olga: Any) -> None:
    pages = [raw for raw, _ in walk(get_resolver().url_patterns) if raw.startswith("/admin/") and not set("<(") & set(raw) and "log" not in raw]
    assert len(pages) > 10
    assert {client.get(raw).status_code for raw in pages} == {302}
    client.force_login(olga, backend="accounts.backends.EmailOrUsernameBackend")
    assert {client.get(raw).status_code for raw in pages} == {302}
