"""The authorization matrix: every route x every caller, with the literal code that each gets (issue "Accounts", SECURITY group D).

The table is `matrix.txt`. A route or method that is not in it fails here, and so does a line whose route is gone; the message holds the lines as they
are now, to be read one by one before they are pasted. Bodies are empty objects, so what is let in mostly ends with 400 or 422: what matters is that
those who are kept out get 401, 403 or 404 before anything is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import get_resolver

from tests.rights.stage import CALLERS, METHODS, Stage, methods_of, routes, walk

pytestmark = pytest.mark.redis
TABLE = Path(__file__).with_name("matrix.txt")


def table() -> dict[tuple[str, str], tuple[str, ...]]:
    """(method, route) -> a code a caller, in their order."""
    lines = [line.split() for line in TABLE.read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith("#")]
    return {(method, path): tuple(codes) for method, path, *codes in lines}


def tried(stage: Stage, caller: str) -> dict[tuple[str, str], str]:
    """Every route once; what it changed is taken back."""
    found = {}
    page = stage.pages(caller)
    for path, view in routes().items():
        api = path.startswith("/api")
        client = stage.clients[caller] if api else page()
        for method in methods_of(view):
            body = {} if method == "get" else {"data": {}, "content_type": "application/json"} if api else {"data": {}}
            with transaction.atomic():
                answer = getattr(client, method)(stage.address(path), **body)
                if getattr(answer, "streaming", False):
                    answer.close()
                transaction.set_rollback(True)
            found[method.upper(), path] = str(answer.status_code)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_route_answers_every_caller_as_the_table_says(stage: Stage) -> None:
    """D01, D02, D03: nobody is let in by a door that the table does not open."""
    now = {caller: tried(stage, caller) for caller in CALLERS}
    lines = {key: tuple(now[caller][key] for caller in CALLERS) for key in now[CALLERS[0]]}
    lines = {key: codes for key, codes in lines.items() if set(codes) != {"405"}}  # a page that takes GET only, or POST only
    known = table()
    wrong = [line(key, codes) for key, codes in ordered(lines) if known.get(key) != codes]
    gone = [line(key, codes) for key, codes in ordered(known) if key not in lines]
    assert not wrong and not gone, "\n".join(["as it is now:", *wrong, "no longer there:", *gone])


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
