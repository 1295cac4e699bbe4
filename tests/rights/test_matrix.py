"""Every address, to everybody: the table in tests/matrix says what it answers, and a route that is not in it fails the build.

A new route: run this test, look at the lines that it proposes, correct the code where a line is wrong, and put them into a file of tests/matrix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.urls import reverse

from audit import denials
from audit.models import Entry
from lormas.common.ratelimit import Limit
from tests.matrix.routes import COLUMNS, Line, Route, line, lines, routes
from tests.matrix.world import World

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
TABLE = lines()
NOTES = {"audit_entry", "audit_seal", "django_session", "accounts_authsession", "accounts_apikey", "accounts_letter", "django_content_type"}
"""Tables that a refusal or a look may write to: the journal, when somebody was seen."""
WRITE = re.compile(r'\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+"?(\w+)')
UNWRITTEN = {
    "placement-preview": "asks, and changes nothing",
    "eggs-preview": "asks, and changes nothing",
    "containers:placement": "asks, and changes nothing",
    "containers:as-request": "asks, and changes nothing",
    "nodes-heartbeat": "a beat is telemetry",
    "nodes-resources": "a beat is telemetry",
}
"""Where a change that worked is no row of the journal, and why."""


@pytest.fixture
def world(roles: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, (1_000_000, 900))
    monkeypatch.setattr(denials, "STRANGERS", Limit("strangers", 1_000_000, 60))
    monkeypatch.setattr(denials, "PEOPLE", Limit("people", 1_000_000, 60))
    return World(roles)


@contextmanager
def writes() -> Iterator[set[str]]:
    """The tables that were written to."""
    found: set[str] = set()

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if match := WRITE.match(sql):
            found.add(match[1])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(look):
        yield found


def address(world: World, route: Route) -> str:
    if route.name.startswith("/"):
        if "rest" in route.params:  # the API's answer to what it doesn't know
            return "/api/nothing/there"
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda part: str(world.value(route, part[1])), route.name)
    kwargs = {param: world.value(route, param) for param in route.params}
    name = route.name.partition("/")[0]
    return reverse(f"api:{name}" if route.is_api and ":" not in name else name, kwargs=kwargs)


def ask(world: World, route: Route, method: str, who: str, body: dict[str, Any] | None) -> tuple[int, list[str]]:
    """The code, and what was wrong beside it. Nothing of it stays."""
    client, path, wrong = world.client(who, page=not route.is_api), address(world, route), []
    with transaction.atomic():
        entries = Entry.objects.count()
        with writes() as written:
            options: dict[str, Any] = {"format": "json"} if route.is_api and method != "GET" else {}
            answer = getattr(client, method.lower())(path, body or {}, **options)
        code = answer.status_code
        to_the_gate = str(answer.headers.get("Location", "")).startswith("/login?next=")
        refused = code in (401, 403, 404) or to_the_gate
        if (refused or method == "GET") and written - NOTES:
            wrong.append(f"{code}, and yet it wrote to {', '.join(sorted(written - NOTES))}")
        if method != "GET":
            new = list(Entry.objects.order_by("-id")[: Entry.objects.count() - entries])
            denied = [entry for entry in new if entry.outcome == "refused"]
            if refused and (len(denied), len(new)) != (1, 1) and not route.name.startswith("/"):
                wrong.append(f"{code}: {len(new)} rows in the journal, {len(denied)} of a refusal")
            if code < 300 and not new and route.name not in UNWRITTEN:
                wrong.append(f"{code}: no row in the journal")
        transaction.set_rollback(True)
    return code, wrong


def doors() -> dict[Any, list[Route]]:
    """Routes that are one view are one door: a second spelling, the other dialect."""
    found: dict[Any, list[Route]] = {}
    for route in routes():
        found.setdefault(route.view, []).append(route)
    return found


def test_every_route_is_in_the_table_and_nothing_else(world: World) -> None:
    listed = {one.route for one in TABLE}
    first = [min(group, key=lambda route: (route.name.startswith("/"), route.name.startswith("workers"))) for group in doors().values()]
    missing = [route for route, group in zip(first, doors().values(), strict=True) if not listed & {one.name for one in group}]
    proposed = []
    for route in missing:
        methods = [method for method in route.methods if ask(world, route, method, "administrator", None)[0] != 405]
        proposed += [line(route.name, method, tuple(ask(world, route, method, who, None)[0] for who in COLUMNS), None) for method in methods]
    assert not missing, "\n".join([f"{len(missing)} routes are not in tests/matrix; look at each of these, then add it:", *proposed])
    assert not listed - {route.name for route in routes()}, "these are no routes any more"
    assert len({(one.route, one.method) for one in TABLE}) == len(TABLE), "a line stands twice"


@pytest.mark.parametrize("file", sorted({one.file for one in TABLE}))
def test_the_table_holds(world: World, file: str) -> None:
    """D01, D03, D07, D11, I04: the code for everybody; a refusal is one row and wrote nothing else; a change that worked is a row."""
    known = {route.name: route for route in reversed(routes())}
    wrong: list[str] = []
    rows: dict[str, dict[str, Line]] = {}
    for one in TABLE:
        if one.file == file:
            rows.setdefault(one.route, {})[one.method] = one
    for name, methods in rows.items():
        for method in known[name].methods:
            listed = methods.get(method)
            if listed is None:
                if known[name].is_api or ask(world, known[name], method, "administrator", None)[0] != 405:
                    wrong.append(f"{name} answers {method}: no line says so")
                continue
            seen = [ask(world, known[name], method, who, listed.body) for who in COLUMNS]
            codes = tuple(code for code, _ in seen)
            if codes != listed.codes:
                wrong.append(f"- {line(name, method, listed.codes, listed.body)}\n+ {line(name, method, codes, listed.body)}")
            wrong += [f"{name} {method}, {who}: {said}" for who, (_, more) in zip(COLUMNS, seen, strict=True) for said in more]
    assert not wrong, "\n".join(wrong)
