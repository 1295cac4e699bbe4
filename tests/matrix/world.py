"""Whom and what the table is asked about.

Everything belongs to the member; the viewer was granted a look at it; what the last one was granted has ended.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.test import Client
from rest_framework.test import APIClient

from accounts import granting, grants, keys, tokens
from accounts.models import Role, User
from audit.services import SYSTEM
from lormas.common import clock
from lormas.common.wires import wired
from tests.console.conftest import make_container, make_node
from tests.matrix.routes import Route

PEOPLE = {"stranger": "member", "viewer": "viewer", "member": "member", "operator": "operator", "administrator": "administrator", "expired": "viewer"}


class World:
    """One of each thing, and a client for each column."""

    def __init__(self, roles: dict[str, Any]) -> None:
        self.people = {
            who: User.objects.create_user(f"{who}@example.org", "correct horse battery", username=who, name=who.title(), role=roles[role])
            for who, role in PEOPLE.items()
        }
        self.bob = User.objects.create_user("bob@example.org", "correct horse battery", username="bob", role=roles["member"])
        self.role = Role.objects.create(slug="helpers", name="Helpers", capabilities=["containers.view"])
        self.root = self.people["administrator"]
        self.member = self.people["member"]
        self._things()
        self._grants()
        self._bearers()

    def _things(self) -> None:
        from containers.models import Rollout
        from eggs.services import import_bundled
        from nodes import onboarding
        from nodes.models import Cluster, MaintenanceWindow, Node, Operation, Orphan, Registry
        from nodes.services import register_node

        now = clock.now()
        template = make_node("template")
        registered, self.token_of_node = register_node(name="fra-1", actor=SYSTEM)
        fields = ("status", "gateway", "cpu_cores", "total_memory_bytes", "total_storage_bytes", "runtime_kind", "last_heartbeat", "ip_address")
        Node.objects.filter(pk=registered.pk).update(**{name: getattr(template, name) for name in fields})
        template.delete()
        self.node = Node.objects.get(pk=registered.pk)
        self.cluster = Cluster.objects.create(name="eu")
        self.egg = import_bundled()[0]
        self.web = make_container("web", self.member, self.node)
        self.operation = Operation.objects.create(
            kind="container.start", status="running", actor=self.member, actor_label="Member", target_type="container", target_id=self.web.pk,
            deadline=now + timedelta(minutes=5),
        )  # fmt: skip
        self.rollout = Rollout.objects.create(egg=self.egg, version=self.egg.versions.first(), created_by=self.root)
        self.window = MaintenanceWindow.objects.create(node=self.node, starts_at=now + timedelta(days=1), ends_at=now + timedelta(days=2))
        self.orphan = Orphan.objects.create(node=self.node, container_id=uuid4(), first_seen=now, last_seen=now)
        self.onboarding = onboarding.create_key(name="rack", actor=SYSTEM, expires_at=now + timedelta(hours=1))[0]
        self.registry = Registry.objects.create(name="hub", server="registry.example.org")
        self.key_of_member = keys.create_key(self.member, name="mine", scopes=["containers.view"], actor=SYSTEM)[0]

    def _grants(self) -> None:
        self.things = {"container": self.web, "node": self.node, "cluster": self.cluster, "egg": self.egg}
        assert set(self.things) == set(wired("GRANTS")), "one of each kind on which rights are granted"
        self.grant: dict[str, Any] = {}
        for name, target in self.things.items():
            kind = grants.kind(name)
            give = {"by": self.root, "kind": kind, "target": target, "actor": SYSTEM}
            self.grant[name] = granting.give(user=self.people["viewer"], permissions=[kind.view], **give)
            granting.give(user=self.people["expired"], permissions=kind.permissions, **give)
            kind.people._default_manager.filter(user=self.people["expired"]).update(expires_at=clock.now() - timedelta(seconds=1))

    def _bearers(self) -> None:
        self.bearer: dict[str, str] = {who: tokens.issue(person, address=None, user_agent="").access for who, person in self.people.items()}
        self.cookies: dict[str, Any] = {}
        for who, person in self.people.items():
            browser = Client()
            browser.force_login(person, backend="accounts.backends.EmailOrUsernameBackend")
            self.cookies[who] = browser.cookies
        self.bearer["node"] = self.token_of_node
        self.bearer["key"] = keys.create_key(self.root, name="bare", scopes=["catalog.manage"], actor=SYSTEM)[1]

    def client(self, who: str, *, page: bool) -> Any:
        """A browser with a cookie, or a program with a token; nodes and keys have only the latter."""
        client = APIClient(raise_request_exception=False) if not page else Client(raise_request_exception=False)
        if page and who in self.people:
            client.cookies = self.cookies[who].copy()
        elif who != "anonymous":
            client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {self.bearer[who]}"
        return client

    def value(self, route: Route, param: str) -> Any:
        """What stands for a part of an address. A thing that is not there would hide what those see who may see it."""
        given = dict(route.given)
        if param in given:
            return given[param]
        kind = (given.get("plural") or route.name.partition("-")[0]).removesuffix("s")
        if param == "object_id":
            return self.things[kind].pk
        if param == "grant_id":
            return self.grant[kind].id
        known: dict[str, Any] = {
            "container_id": self.web.pk,
            "node_id": self.node.pk,
            "cluster_id": self.cluster.pk,
            "egg_id": self.egg.pk,
            "operation_id": self.operation.pk,
            "rollout_id": self.rollout.pk,
            "window_id": self.window.pk,
            "registry_id": self.registry.pk,
            "orphan_id": self.orphan.pk,
            "user_id": self.bob.pk,
            "role_id": self.role.pk,
            "number": 1,
            "passkey_id": 1,
            "connection_id": 1,
            "feature": "eula",
            "kind": "images",
            "what": "reset",
            "token": "not-a-token",
            "name": "nodes.sync" if route.name.startswith("jobs") else "nothing.whl",
            "rest": "nothing/there",
        }
        if param == "key_id":
            return self.onboarding.pk if "onboarding" in route.name else self.key_of_member.pk
        return known.get(param) or uuid4()
