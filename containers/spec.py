"""From a container's wish to the `ContainerSpec` its node gets (pure: plain data in, plain data out)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import msgspec

from agent.protocol.messages import ContainerSpec, Limits, Mount, PortBinding, StopSpec
from agent.protocol.parts import ConfigEdit, HealthCheck, Readiness


def as_kept(spec: ContainerSpec) -> dict[str, Any]:
    """As a row keeps it: what JSON gives back, so that a spec and one that was kept can be compared."""
    kept: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(spec))
    return kept


@dataclass(frozen=True, slots=True)
class Startup:
    """How to start it: from an egg's rendering, or straight from the owner."""

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] | None = None
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    data_target: str = ""
    """Where the container's own folder is mounted; empty = it has none."""
    process_command: tuple[str, ...] = ()
    stop: StopSpec = field(default_factory=StopSpec)
    mounts: tuple[Mount, ...] = ()
    """Of the egg itself: memory, and where an administrator approved it folders of the machine."""
    privileged: bool = False
    host_network: bool = False
    cap_add: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    """argv that evaluates the start line where the image does not; `shell_when` tells who decides that."""
    shell_when: Literal["auto", "always", "never"] = "auto"
    config_files: tuple[ConfigEdit, ...] = ()
    readiness: Readiness | None = None
    features: tuple[str, ...] = ()
    health: HealthCheck | None = None
    confined: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """Limits as asked for; 0 = the default."""

    cpus: float = 0
    memory_bytes: int = 0
    swap_bytes: int = 0
    disk_bytes: int = 0
    io_weight: int = 0
    pids: int = 512

    @classmethod
    def of(cls, limits: Any) -> Asked:
        """Those of an object that has them as attributes of these names: a container."""
        return cls(**{one.name: getattr(limits, one.name) for one in fields(cls)})


def build_spec(
    *,
    container_id: str,
    name: str,
    startup: Startup,
    asked: Asked,
    ports: Sequence[PortBinding],
    labels: Mapping[str, str],
    mounts: Sequence[Mount] = (),
    default_cpus: float,
    default_memory_bytes: int,
) -> ContainerSpec:
    """The spec. The container's own folder comes first among the mounts; SERVER_PORT and PORT tell the primary port unless the env names them."""
    env = dict(startup.env or {})
    if ports:
        env.setdefault("SERVER_PORT", str(ports[0].container_port))
        env.setdefault("PORT", str(ports[0].container_port))
    if startup.confined:
        env.setdefault("HOME", startup.data_target)  # the user `container` is in no image's list of users
    data = [Mount(kind="data", target=startup.data_target)] if startup.data_target else []
    return ContainerSpec(
        container_id=container_id,
        name=name,
        image=startup.image,
        command=list(startup.command),
        entrypoint=list(startup.entrypoint) if startup.entrypoint is not None else None,
        env=env,
        working_dir=startup.working_dir,
        user=startup.user,
        tty=startup.tty,
        labels=dict(labels),
        limits=Limits(
            cpus=asked.cpus or default_cpus,
            memory_bytes=asked.memory_bytes or default_memory_bytes,
            swap_bytes=asked.swap_bytes,
            disk_bytes=asked.disk_bytes,
            io_weight=asked.io_weight,
            pids=asked.pids or 512,
        ),
        ports=list(ports),
        mounts=[*data, *startup.mounts, *mounts],
        stop=startup.stop,
        process_command=list(startup.process_command),
        privileged=startup.privileged,
        network_mode="host" if startup.host_network else "bridge",
        cap_add=list(startup.cap_add),
        devices=list(startup.devices),
        shell=list(startup.shell),
        shell_when=startup.shell_when,
        config_files=list(startup.config_files),
        readiness=startup.readiness,
        health=startup.health,
        features=list(startup.features),
        confined=startup.confined,
    )
