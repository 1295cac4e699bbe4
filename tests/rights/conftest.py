"""The cast with what they share: alice owns `web`, bob is granted parts of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts import granting, grants
from accounts.models import User
from lormas.common import clock
from tests.console.conftest import make_container, make_node


def client_of(user: Any) -> APIClient:
    """As of now: rights are read anew."""
    client = APIClient()
    client.force_authenticate(User.objects.select_related("role").get(pk=user.pk))
    return client


@pytest.fixture
def node(db: None) -> Any:
    return make_node("fra-1")


@pytest.fixture
def web(alice: Any, node: Any) -> Any:
    return make_container("web", alice, node)


@pytest.fixture
def egg(db: None) -> Any:
    from eggs.services import import_bundled

    return next(egg for egg in import_bundled() if "hello" in egg.name.lower())


def give(by: Any, target: Any, holder: Any, *permissions: str, seconds: float | None = None, kind: str = "container", role: Any = None) -> Any:
    """A grant by service."""
    end = clock.now() + timedelta(seconds=seconds) if seconds is not None else None
    return granting.give(
        by, grants.kind(kind), target, user=holder, role=role, permissions=permissions, expires_at=end, reason="because", actor=by.as_actor()
    )


@pytest.fixture
def stage(alice: Any, bob: Any, charlie: Any, olga: Any, root: Any, roles: Any, settings: Any) -> Any:
    """Everybody and everything of the authorization matrix; requests are not counted."""
    from tests.conftest import _person
    from tests.rights.stage import Stage

    settings.RATE_LIMITS = {name: (10**6, seconds) for name, (_, seconds) in settings.RATE_LIMITS.items()}
    erin, greta = _person("erin", roles["member"]), _person("greta", roles["member"])
    cast = {"owner": alice, "stranger": bob, "viewer": charlie, "operator": olga, "administrator": root, "expired": erin, "granted": greta}
    return Stage(cast)
