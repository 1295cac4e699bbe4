"""The stage of the authorization matrix: one object of each kind, the nine callers, and the addresses of all routes on these objects."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

from django.conf import settings
from django.contrib.admindocs.views import simplify_regex
from django.test import Client
from django.test.client import ClientHandler
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import grants, keys
from accounts.models import User
from accounts.services import sign_in
from audit.services import SYSTEM
from lormas.common import clock
from lormas.common.ids import new_id
from tests.console.conftest import make_container
from tests.rights.conftest import give

CALLERS = ("anonymous", "stranger", "viewer", "owner", "operator", "administrator", "node", "bare-key", "expired")
"""Columns of the table. The stranger is a member who has nothing to do with the objects; `owner` a member whose container it is; `node` the agent of
the node in the address; `bare-key` an administrator's API key with a scope that opens none of these; `expired` a member whose grants of everything
that can be granted on each object have just ended."""
METHODS = ("get", "post", "put", "patch", "delete")
PLURALS = {"containers": "container", "nodes": "node", "clusters": "cluster", "eggs": "egg", "machines": "machine"}
SCOPE = "billing.view_any"
MISSING = "0190a0a0-0000-7000-8000-000000000000"


class Stage:
    """Objects by the name that routes give them, and a client for each caller."""

    def __init__(self, cast: dict[str, User]) -> None:
        self.cast = cast
        self.ids = dict(self._objects())
        self._others: dict[str, Any] = {}
        self._handler = ClientHandler(enforce_csrf_checks=False)
        self.clients = {caller: self.client(caller) for caller in CALLERS}

    def _objects(self) -> Iterator[tuple[str, str]]:
        from containers.models import Backup, BackupDestination, LeftCopy, LogAlert, Rollout, Schedule
        from eggs.services import import_bundled
        from nodes.models import Cluster, MaintenanceWindow, Node, OnboardingKey, Operation, Orphan, Registry
        from nodes.services import register_node
        from reservations.models import Machine, Reservation

        now = clock.now()
        owner, erin = self.cast["owner"], self.cast["expired"]
        node, self.node_token = register_node(name="fra-1", actor=SYSTEM)
        Node.objects.filter(pk=node.pk).update(status="INACTIVE", status_reason="Not connected.")
        cluster = Cluster.objects.create(name="eu")
        egg = next(egg for egg in import_bundled() if "hello" in egg.name.lower())
        web = make_container("web", owner, node, status="stopped", desired="stopped")
        machine = Machine.objects.create(name="m-1", host="192.0.2.1")
        targets = {"container": web, "node": node, "cluster": cluster, "egg": egg, "machine": machine}
        self.grants = {}
        for kind, target in targets.items():
            table = grants.kind(kind)
            self.grants[kind] = str(give(self.cast["administrator"], target, self.cast["granted"], *table.permissions, kind=kind).id)
            give(self.cast["administrator"], target, erin, *table.permissions, kind=kind, seconds=3600)
            table.people.objects.filter(user=erin).update(expires_at=now - timedelta(seconds=1))
        key, self.bare_key = keys.create_key(self.cast["administrator"], name="bare", scopes=[SCOPE], actor=self.cast["administrator"].as_actor())
        place = BackupDestination.objects.create(name="disk", kind="local", config={"folder": str(settings.DATA_DIR / "backups")}, is_default=True)
        backup = Backup.objects.create(container=web, container_name="web", owner=owner, destination=place, key="containers/x.tar.gz", state="failed")
        schedule = Schedule.objects.create(container=web, name="nightly", cron="0 4 * * *", steps=[{"kind": "wait", "seconds": 1}], author=owner)
        operation = Operation.objects.create(
            kind="container.start", status="running", actor=owner, actor_label="Alice", target_type="container", target_id=web.pk,
            target_label="web", deadline=now + timedelta(minutes=5),
        )  # fmt: skip
        yield from {
            "container_id": web.pk,
            "node_id": node.pk,
            "cluster_id": cluster.pk,
            "egg_id": egg.pk,
            "machine_id": machine.pk,
            "machine": machine.pk,
            "reservation_id": Reservation.objects.create(
                owner=owner, owner_label="Alice", count=1, duration_seconds=3600, username="alice", state="requested", state_since=now
            ).pk,
            "path": "notes.txt",
            "pid": 1,
            "number": 1,
            "backup_id": backup.pk,
            "destination_id": place.pk,
            "schedule_id": schedule.pk,
            "operation_id": operation.pk,
            "user_id": self.cast["granted"].pk,
            "role_id": self.cast["granted"].role_id,
            "rollout_id": Rollout.objects.create(egg=egg, version_id=egg.current_id, created_by=self.cast["administrator"]).pk,
            "window_id": MaintenanceWindow.objects.create(node=node, starts_at=now + timedelta(hours=1), ends_at=now + timedelta(hours=2)).pk,
            "registry_id": Registry.objects.create(name="r", server="registry.example.org").pk,
            "orphan_id": Orphan.objects.create(node=node, container_id=MISSING, first_seen=now, last_seen=now).pk,
            "copy_id": LeftCopy.objects.create(container_id=MISSING, container_name="old", node=node, epoch=1, reason="It was lost.").pk,
            "onboarding_key_id": OnboardingKey.objects.create(name="k", prefix="p", digest="d", expires_at=now + timedelta(hours=1)).pk,
            "api_key_id": key.pk,
            "alert_id": LogAlert.objects.create(container=web, pattern="oops", created_by=owner).pk,
            "job": "nodes.sync",
        }.items()  # type: ignore[misc]

    def _blank(self) -> Client:
        """All clients share one handler: each handler makes its own middleware, and whitenoise's looks at every static file when it is made."""
        client = Client(raise_request_exception=False)
        client.handler = self._handler
        return client

    def client(self, caller: str) -> Client:
        """One that has just signed in."""
        client = self._blank()
        if caller == "node":
            client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {self.node_token}"
        elif caller == "bare-key":
            client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {self.bare_key}"
        elif caller != "anonymous":
            client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {sign_in(self.cast[caller], address=None, user_agent='test').access}"
        return client

    def pages(self, caller: str) -> Callable[[], Client]:
        """Makes clients that are signed in as a browser is, by cookie: a fresh one for each page, as some end the session. Agents and keys have no
        cookie, and send what they have."""
        if caller in ("anonymous", "node", "bare-key"):
            return lambda: self.clients[caller]
        signed_in = Client()
        signed_in.force_login(self.cast[caller], backend="accounts.backends.EmailOrUsernameBackend")

        def fresh() -> Client:
            client = self._blank()
            client.cookies = SimpleCookie({name: morsel.value for name, morsel in signed_in.cookies.items()})
            return client

        return fresh

    def address(self, template: str) -> str:
        """`/api/containers/{container_id}` with our container in it. What has no object here gets an id that nothing has."""
        kind = PLURALS
        first = _first(template)

        def fill(match: re.Match[str]) -> str:
            name = match[1]
            if name == "object_id":
                return str(self.ids[f"{kind[first]}_id"])
            if name == "grant_id":
                return self.grants[kind[first]]
            if name == "key_id":
                return str(self.ids["onboarding_key_id" if "onboarding" in template or "/nodes/keys" in template else "api_key_id"])
            if name == "name":
                return str(self.ids["job"]) if "jobs" in template else "lormas.whl"
            if name in ("passkey_id", "connection_id"):
                return "1"
            return str(self.ids.get(name, "no-such-token" if name in ("token", "what") else MISSING))

        return re.sub(r"\{(\w+)\}", fill, template)

    def another(self, template: str, name: str) -> str:
        """The id of a second object of the kind that stands under this name in the address."""
        kind = PLURALS[_first(template)] if name == "object_id" else name.removesuffix("_id")
        if kind not in self._others:
            first = grants.kind(kind).model._default_manager.get(pk=self.ids[f"{kind}_id"])
            first.pk, first._state.adding = new_id(), True
            for field in ("name", "slug", "uuid", "token_digest"):
                if hasattr(first, field):
                    setattr(first, field, str(new_id()))
            self._others[kind] = first
        self._others[kind].save(force_insert=True)
        return str(self._others[kind].pk)


def _first(template: str) -> str:
    return (template.removeprefix("/api") + "//").split("/")[1]


def walk(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield "/" + path, pattern.callback


def _spelled(raw: str) -> Iterator[str]:
    """The route as the table spells it, once for each word of a choice such as `(?P<action>start|stop)`."""
    choices = re.findall(r"\(\?P<(\w+)>((?:\w+\|)+\w+)\)", raw)
    for words in itertools.product(*(found[1].split("|") for found in choices)):
        path = raw
        for (name, choice), word in zip(choices, words, strict=True):
            path = path.replace(f"(?P<{name}>{choice})", word)
        path = path.replace("/?$", "")
        path = simplify_regex(path) if "(" in path or "^" in path else path
        yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path).replace("//", "/").replace("^", "").replace("$", "")


def routes() -> dict[str, Callable[..., Any]]:
    """Every address of the panel and its view. Left out: the dialect under `/api/v1` and the older word `workers` (both are checked to be the same
    views), and `/admin`, which is Django's own and lets in nobody but administrators."""
    found: dict[str, Callable[..., Any]] = {}
    for raw, view in walk(get_resolver().url_patterns):
        if raw.startswith(("/api/v1/", "/api/workers", "/api/^workers", "/admin/")) or "unknown_api" in getattr(view, "__name__", ""):
            continue
        for path in _spelled(raw):
            found.setdefault(path, view)
    return {path: view for path, view in found.items() if path == "/" or not path.endswith("/") or path.rstrip("/") not in found}


def methods_of(view: Callable[..., Any]) -> list[str]:
    """What a route answers to: of a DRF view what it has, of a page what its decorator lets through (tried: GET and POST)."""
    handler = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if handler is not None:
        return [name for name in METHODS if hasattr(handler, name)]
    return ["get", "post"]
