from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


def egg_file(**changes: Any) -> dict[str, Any]:
    """A small good egg (PTDL_v2), with changes; a change to None of the constant REMOVE takes the key out."""
    made: dict[str, Any] = {
        "meta": {"version": "PTDL_v2", "update_url": None},
        "name": "Small",
        "author": "team@example.org",
        "description": None,
        "features": None,
        "docker_images": {"Java 21": "ghcr.io/example/yolks:java_21", "Plain": "debian:12-slim"},
        "file_denylist": [],
        "startup": "./server --port {{SERVER_PORT}} --name {{SERVER_NAME}}",
        "config": {
            "files": json.dumps({"server.properties": {"parser": "properties", "find": {"server-port": "{{server.build.default.port}}"}}}),
            "startup": json.dumps({"done": "Done ("}),
            "logs": "{}",
            "stop": "stop",
        },
        "scripts": {"installation": {"script": "#!/bin/bash\r\necho hi\r\n", "container": "debian:12", "entrypoint": "bash"}},
        "variables": [variable("SERVER_NAME", default_value="A server", rules="required|string|max:20")],
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not REMOVE}


REMOVE = object()


def variable(env: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": env.title(), "description": "", "env_variable": env, "default_value": "", "user_viewable": True, "user_editable": True,
        "rules": "nullable|string", "field_type": "text", **changes,
    }  # fmt: skip


def encoded(raw: Any) -> bytes:
    return json.dumps(raw).encode()


@pytest.fixture
def imported(db: None) -> Callable[..., Any]:
    """Import a small egg with changes; gives the Egg."""
    from eggs.services import import_egg

    def act(**changes: Any) -> Any:
        return import_egg(encoded(egg_file(**changes)), filename="egg.json").eggs[0]

    return act
