"""How a container is to be kept, as its owner says beside its egg; and which of a spec's parts the engine's container is made of."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.protocol.messages import ContainerSpec
from agent.protocol.parts import Readiness
from containers.models import Container, ContainerSettings
from lormas.common.database import one

EACH_START = ("name", "startup_script", "readiness", "config_files", "features", "stop")
"""Parts of a spec that go with each start: a change of these needs no new container."""


def settings_of(container: Container) -> ContainerSettings:
    """Its settings; unsaved defaults where it has none yet."""
    found = one(ContainerSettings.objects.filter(container_id=container.pk))
    return found if found is not None else ContainerSettings(container_id=container.pk)


def with_manners(container: Container, spec: ContainerSpec) -> ContainerSpec:
    """The spec with the owner's startup script and readiness."""
    kept = settings_of(container)
    changes: dict[str, Any] = {}
    if kept.startup_script:
        changes["startup_script"] = kept.startup_script
    if kept.readiness.get("done"):
        own = Readiness(done=list(kept.readiness["done"]), strip_ansi=True)
        seconds = kept.readiness.get("timeout_seconds")
        changes["readiness"] = msgspec.structs.replace(own, timeout_seconds=float(seconds)) if seconds else own
    return msgspec.structs.replace(spec, **changes) if changes else spec


def engine_part(spec: dict[str, Any]) -> dict[str, Any]:
    """Of a spec as JSON, what a container of the engine is made of."""
    return {name: value for name, value in spec.items() if name not in EACH_START}


def without_limits(spec: dict[str, Any]) -> dict[str, Any]:
    """The same, without what can be changed under a running container."""
    return {name: value for name, value in engine_part(spec).items() if name != "limits"}
