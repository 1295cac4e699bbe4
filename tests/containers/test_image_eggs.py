"""Containers of eggs that start as their image does (Portainer, Compose): health, limits and the kind of node they need."""

from __future__ import annotations

import json
from typing import Any

import pytest

from containers.spec import Asked
from eggs.services import import_egg
from lormas.common.errors import Refused
from nodes.models import Node

pytestmark = pytest.mark.redis
SERVICE = {
    "image": "nginx:1", "command": ["run", "${NAME:-x}"], "healthcheck": {"test": "curl -f localhost", "interval": "5s", "retries": 4},
    "deploy": {"resources": {"limits": {"cpus": "0.25", "memory": "32M", "pids": 77}}}, "volumes": ["data:/srv"], "ports": ["80"],
}  # fmt: skip


@pytest.fixture
def egg(db: None) -> Any:
    return import_egg(json.dumps({"services": {"web": SERVICE}}).encode(), filename="compose.json").eggs[0]


def test_it_gets_what_the_service_says(make: Any, egg: Any) -> None:
    spec = make("web", egg=egg, image="", variables={"NAME": "a b"})[0].spec
    assert (spec["image"], spec["command"], spec.get("entrypoint"), spec.get("shell", [])) == ("nginx:1", ["run", "a b"], None, [])
    assert spec["health"] == {"test": ["CMD-SHELL", "curl -f localhost"], "interval_seconds": 5.0, "retries": 4}
    assert (spec["limits"]["cpus"], spec["limits"]["memory_bytes"], spec["limits"]["pids"]) == (0.25, 32 * 1024**2, 77)
    assert spec["mounts"] == [{"kind": "data", "target": "/srv"}]
    assert [port["container_port"] for port in spec["ports"]] == [80]
    assert "STARTUP" not in spec["env"]


def test_what_is_asked_for_goes_before_what_the_egg_says(make: Any, egg: Any) -> None:
    limits = make("web", egg=egg, image="", asked=Asked(cpus=0.5, memory_bytes=64 * 1024**2, pids=99))[0].spec["limits"]
    assert (limits["cpus"], limits["memory_bytes"], limits["pids"]) == (0.5, 64 * 1024**2, 99)


def test_a_node_without_images_does_not_take_it(make: Any, egg: Any, node: Any) -> None:
    Node.objects.update(runtime_kind="process")
    with pytest.raises(Refused) as refused:
        make("web", egg=egg, image="")
    assert refused.value.code == "no_placement"
    assert "images" in str(refused.value)
