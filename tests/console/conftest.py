"""A small fleet for pages: two nodes, an egg, alice's container, an operation that failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from lormas.common import clock

GIB = 1024**3


def make_node(name: str, **changes: Any) -> Any:
    from nodes.models import Node

    fields: dict[str, Any] = {
        "status": "ACTIVE",
        "status_reason": "",
        "gateway": "test",
        "hostname": f"{name}.example.net",
        "ip_address": "10.0.4.7",
        "cpu_cores": 8,
        "cpu_architecture": "x86_64",
        "total_memory_bytes": 32 * GIB,
        "total_storage_bytes": 400 * GIB,
        "container_runtime": "docker://27.3.1",
        "runtime_kind": "docker",
        "agent_version": "0.1.0",
        "protocol_version": 1,
        "last_heartbeat": clock.now(),
        "usage": {"cpu_percent": 12.0, "memory_used_bytes": 9 * GIB, "storage_used_bytes": 80 * GIB},
    }
    return Node.objects.create(name=name, **{**fields, **changes})


def make_container(name: str, owner: Any, node: Any, **changes: Any) -> Any:
    from containers.models import Container, Port

    fields: dict[str, Any] = {
        "status": "running",
        "desired": "running",
        "image": "nginx:1.27",
        "cpus": 1,
        "memory_bytes": GIB,
        "started_at": clock.now(),
    }
    made = Container.objects.create(name=name, owner=owner, node=node, **{**fields, **changes})
    if node is not None:
        Port.objects.create(container=made, node=node, container_port=80, host_port=25565 + Port.objects.count(), is_primary=True)
    return made


@pytest.fixture
def node(db: None) -> Any:
    return make_node("fra-1")


@pytest.fixture
def pending(db: None) -> Any:
    from nodes.models import Node

    return Node.objects.create(name="new-box")


@pytest.fixture
def egg(db: None) -> Any:
    from eggs.services import import_bundled

    return next(egg for egg in import_bundled() if "hello" in egg.name.lower())


@pytest.fixture
def web(alice: Any, node: Any) -> Any:
    return make_container("web-1", alice, node)


@pytest.fixture
def failed(alice: Any, web: Any) -> Any:
    from nodes.models import Operation

    return Operation.objects.create(
        kind="container.start",
        status="failed",
        actor=alice,
        actor_label="Alice",
        target_type="container",
        target_id=web.pk,
        target_label="web-1",
        error_code="image_not_found",
        error_detail="The image does not exist.",
        deadline=clock.now() + timedelta(minutes=5),
        request_id="req-1",
    )


@pytest.fixture
def sign_in() -> Callable[[Any], Client]:
    def inner(user: Any) -> Client:
        client = Client()
        client.force_login(user, backend="accounts.backends.EmailOrUsernameBackend")
        return client

    return inner
