"""From a container's row to how it starts: by its egg's rendering, or straight from its own fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django.conf import settings

from agent.protocol.messages import Mount, PortBinding
from agent.protocol.parts import HealthCheck, Readiness
from containers.models import Container
from containers.spec import Startup
from eggs.configfiles import edits_of
from eggs.definition import EggDefinition, Privilege
from eggs.rendering import render
from lormas.common.errors import FieldError, Refused

DATA_TARGET = "/home/container"
SHELL_WHEN: dict[str, Literal["auto", "always", "never"]] = {"auto": "auto", "shell": "always", "entrypoint": "never"}
READY_SECONDS = 900.0
"""How long a container may be `starting` before it counts as running without having said so."""


def is_confined(definition: EggDefinition) -> bool:
    """Those with a startup line of their own run as the user `container` on a read-only root, as in the panels they come from. What starts as
    its image does, or asks for more and was approved, keeps the image's user."""
    return definition.runs == "startup" and not definition.user and not definition.privileges


@dataclass(frozen=True, slots=True)
class Rendered:
    """A startup and what is wrong with the values it was made from."""

    startup: Startup
    errors: list[FieldError] = field(default_factory=list)


Wish = tuple[int, int, str]
"""(container port, host port or 0, protocol)"""


def startup_of(container: Container, *, wishes: list[Wish] | None = None, ports: Sequence[PortBinding] | None = None) -> tuple[Rendered, list[Wish]]:
    """Render; also the ports it needs (an egg with a startup line always has at least its primary one).

    Raises Refused `needs_approval`: create, edit, start, restart and rollout all come through here (A03).

    An egg's server listens on the port it is told, so inside and outside are the same number unless the egg names a fixed one; TCP and UDP alike
    unless it says which.
    """
    if container.egg_version is None:
        return (
            Rendered(
                Startup(
                    image=container.image,
                    command=tuple(container.command),
                    env=dict(container.env),
                    data_target="",
                    **_made_of(container),
                )
            ),
            list(wishes or []),
        )
    if container.egg_version.needs_approval:
        raise Refused(
            f"Version {container.egg_version.number} of this egg asks for something of the machine itself: an administrator must approve it first.",
            code="needs_approval",
            errors=[FieldError("egg", "It waits for an administrator's approval.", "needs_approval")],
        )
    definition = EggDefinition.from_json(container.egg_version.definition)
    wanted: list[Wish] = list(wishes or [])
    if not wanted and ports is None:
        wanted = [(port.container, 0, port.protocol) for port in definition.ports]
        if not wanted and definition.runs == "startup":
            wanted = [(0, 0, "tcp"), (0, 0, "udp")]  # the files say nothing of protocols, and many games speak UDP
    primary = ports[0].container_port if ports else (wanted[0][1] or wanted[0][0] if wanted else 0)
    rendered = render(
        definition,
        values={str(k): str(v) for k, v in container.variables.items()},
        image=container.image or None,
        startup=container.startup or None,
        memory_bytes=container.memory_bytes or settings.CONTAINER_MEMORY_LIMIT,
        primary_port=primary,
        container_id=str(container.pk),
    )
    env = {**rendered.env, **container.env}
    startup = Startup(
        image=rendered.image,
        command=tuple(rendered.command),
        entrypoint=tuple(rendered.entrypoint) if rendered.entrypoint is not None else None,
        env=env,
        working_dir=rendered.working_dir,
        user=rendered.user,
        tty=rendered.tty,
        data_target=rendered.data_target,
        process_command=tuple(rendered.process_command),
        stop=rendered.stop,
        mounts=(*(Mount(kind="tmpfs", target=target) for target in rendered.tmpfs), *_binds(rendered.privileges)),
        privileged=any(privilege.kind == "privileged" for privilege in rendered.privileges),
        host_network=any(privilege.kind == "host_network" for privilege in rendered.privileges),
        cap_add=tuple(privilege.value for privilege in rendered.privileges if privilege.kind == "capability"),
        devices=tuple(privilege.value for privilege in rendered.privileges if privilege.kind == "device"),
        shell=tuple(rendered.shell_argv),
        shell_when=SHELL_WHEN[rendered.startup_mode],
        config_files=tuple(edits_of(rendered.config_files, data_target=rendered.data_target)),
        readiness=Readiness(done=definition.startup_done, strip_ansi=definition.strip_ansi, timeout_seconds=READY_SECONDS),
        features=tuple(definition.features),
        health=_health(definition),
        confined=is_confined(definition),
    )
    return Rendered(startup, list(rendered.errors)), wanted


def _made_of(container: Container) -> dict[str, Any]:
    """What a container that was taken over has beside its image's own."""
    found = dict(container.made_of)
    if "entrypoint" in found:
        found["entrypoint"] = tuple(found["entrypoint"])
    return found


def _health(definition: EggDefinition) -> HealthCheck | None:
    found = definition.health
    if found is None:
        return None
    return HealthCheck(
        test=found.test,
        interval_seconds=found.interval_seconds,
        timeout_seconds=found.timeout_seconds,
        retries=found.retries,
        start_seconds=found.start_seconds,
    )


def _binds(privileges: Sequence[Privilege]) -> list[Mount]:
    found = []
    for privilege in privileges:
        if privilege.kind == "bind":
            source, target, *mode = privilege.value.split(":")
            found.append(Mount(kind="bind", source=source, target=target, read_only=mode == ["ro"]))
    return found
