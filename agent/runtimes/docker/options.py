"""The allow-list builder: a `ContainerSpec` becomes engine options key by key; nothing is passed through (SECURITY.md M1, A01-A13)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from agent.protocol.messages import ContainerSpec
from agent.protocol.parts import HealthCheck
from agent.runtimes.base import CONTAINER_GID, CONTAINER_UID, LABEL_CONTAINER, LABEL_EPOCH, LABEL_INSTANCE, LABEL_OPERATION, RuntimeFailure
from agent.runtimes.policy import LimitDefaults, LocalPolicy, capability, check, clean_path, own_labels

NETWORK = "lormas"
MIN_MEMORY = 6 * 1024 * 1024
"""Less is refused by the engine."""

CAP_DROP = ("AUDIT_WRITE", "FSETID", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT", "SYS_PTRACE")
"""Kept of the engine's default set: CHOWN, DAC_OVERRIDE, FOWNER, SETUID, SETGID, KILL, NET_BIND_SERVICE - what the entrypoints of
ordinary images (postgres, nginx, redis...) use to hand their data to a user and become it."""

LABEL_MANAGED = "lormas.managed"
TMP_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine can do, as far as options depend on it."""

    cpus: int = 1
    memory_bytes: int = 0
    swap_limit: bool = True
    io_weight: bool = False


def engine_facts(info: dict[str, Any]) -> EngineFacts:
    """From the engine's answer to `/info`."""
    return EngineFacts(
        cpus=int(info.get("NCPU") or 1),
        memory_bytes=int(info.get("MemTotal") or 0),
        swap_limit=bool(info.get("SwapLimit", True)),
        io_weight=bool(info.get("BlkioWeight", False)),
    )


def slug(name: str) -> str:
    """A name that the engine accepts."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "container"


def engine_name(spec: ContainerSpec) -> str:
    """`lormas-<start of the id>-<slug>`."""
    return f"lormas-{re.sub(r'[^a-zA-Z0-9]', '', spec.container_id)[:12]}-{slug(spec.name)}"


def volume_name(container_id: str) -> str:
    return f"lormas-{container_id}"


def build(
    spec: ContainerSpec, *, instance: str, epoch: int, operation_id: str, policy: LocalPolicy, defaults: LimitDefaults, facts: EngineFacts
) -> dict[str, Any]:
    """Body for `POST /containers/create`.

    Raises:
        RuntimeFailure: `policy_denied`, `invalid_spec`.
    """
    check(spec, policy)
    labels = own_labels(spec.labels) | {
        LABEL_MANAGED: "1",
        LABEL_INSTANCE: instance,
        LABEL_CONTAINER: spec.container_id,
        LABEL_OPERATION: operation_id,
        LABEL_EPOCH: str(epoch),
    }
    body: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{key}={value}" for key, value in spec.env.items()],
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "StdinOnce": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Labels": labels,
        "ExposedPorts": {f"{port.container_port}/{port.protocol}": {} for port in spec.ports},
        "HostConfig": _host_config(spec, defaults, facts),
    }
    if spec.command:
        body["Cmd"] = list(spec.command)
    if spec.entrypoint is not None:
        # An empty list would mean "the image's own" to the engine; [""] is its spelling of "none".
        body["Entrypoint"] = list(spec.entrypoint) or [""]
    if spec.health is not None:
        body["Healthcheck"] = _health(spec.health)
    if spec.working_dir:
        body["WorkingDir"] = clean_path(spec.working_dir, what="the working directory")
    if spec.user:
        body["User"] = spec.user
    if spec.confined and not spec.privileged:
        _confine(body)
    if spec.hostname and spec.network_mode != "host":
        body["Hostname"] = spec.hostname
    return body


def _health(check: HealthCheck) -> dict[str, Any]:
    if not check.test or check.test[0] not in ("CMD", "CMD-SHELL", "NONE"):
        raise RuntimeFailure("invalid_spec", "A health check begins with CMD, CMD-SHELL or NONE.")

    def nanoseconds(seconds: float) -> int:
        return int(min(86_400.0, max(0.001, seconds)) * 1e9)  # the engine refuses less than a millisecond

    made = {"Test": list(check.test), "Interval": nanoseconds(check.interval_seconds), "Timeout": nanoseconds(check.timeout_seconds)}
    made["Retries"] = min(1000, max(1, check.retries))
    if check.start_seconds > 0:
        made["StartPeriod"] = nanoseconds(check.start_seconds)
    return made


def _confine(body: dict[str, Any]) -> None:
    """As images made for eggs are run: nobody's user, no capabilities, a root that can't be written, memory for /tmp."""
    body["User"] = f"{CONTAINER_UID}:{CONTAINER_GID}"
    host = body["HostConfig"]
    host["ReadonlyRootfs"] = True
    if not any(mount["Target"] == "/tmp" for mount in host["Mounts"]):  # noqa: S108 - inside of the container
        host["Tmpfs"] = {"/tmp": f"rw,exec,nosuid,size={TMP_BYTES}"}  # noqa: S108
    if not host["CapAdd"]:
        host["CapDrop"] = ["ALL"]


def _host_config(spec: ContainerSpec, defaults: LimitDefaults, facts: EngineFacts) -> dict[str, Any]:
    limits = spec.limits
    memory = max(MIN_MEMORY, limits.memory_bytes or defaults.memory_bytes or int(facts.memory_bytes * 0.8))
    if facts.memory_bytes:
        memory = min(memory, facts.memory_bytes)
    cpus = min(limits.cpus or defaults.cpus or facts.cpus, facts.cpus)
    host: dict[str, Any] = {
        "AutoRemove": False,
        "Init": False,
        # The panel restarts, so that a restart is journaled and a fenced container stays down.
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(defaults.log_max_bytes), "max-file": str(defaults.log_files)}},
        "NetworkMode": NETWORK if spec.network_mode == "bridge" else spec.network_mode,
        "Privileged": spec.privileged,
        "SecurityOpt": [] if spec.privileged else ["no-new-privileges"],
        "CapDrop": [] if spec.privileged else [name for name in CAP_DROP if name not in set(map(capability, spec.cap_add))],
        "CapAdd": sorted({capability(name) for name in spec.cap_add}),
        "Devices": [{"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in spec.devices],
        "IpcMode": "private",
        "PidsLimit": limits.pids if limits.pids > 0 else defaults.pids,
        "Memory": memory,
        "NanoCpus": max(10_000_000, int(cpus * 1e9)),
        "OomKillDisable": False,
        "Mounts": _mounts(spec),
        "PortBindings": _ports(spec) if spec.network_mode == "bridge" else {},
    }
    if facts.swap_limit:
        host["MemorySwap"] = memory + max(0, limits.swap_bytes)
    if limits.io_weight and facts.io_weight:
        host["BlkioWeight"] = min(1000, max(10, limits.io_weight))
    return host


def _mounts(spec: ContainerSpec) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for mount in spec.mounts:
        target = clean_path(mount.target, what="a mount's target")
        one: dict[str, Any] = {"Target": target, "ReadOnly": mount.read_only}
        if mount.kind == "data":
            # Named by us alone: a name from outside could be another container's volume (A02).
            one |= {"Type": "volume", "Source": volume_name(spec.container_id)}
        elif mount.kind == "volume":
            one |= {"Type": "volume", "Source": mount.source, "VolumeOptions": {"NoCopy": True}}
        elif mount.kind == "tmpfs":
            one |= {"Type": "tmpfs", "TmpfsOptions": {"SizeBytes": mount.size_bytes or 64 * 1024 * 1024, "Mode": 0o1777}}
        else:
            # A missing source is an error here, where `Binds` would create it as root.
            one |= {"Type": "bind", "Source": clean_path(mount.source, what="a mount's source"), "BindOptions": {"Propagation": "rprivate"}}
        made.append(one)
    return made


def _ports(spec: ContainerSpec) -> dict[str, list[dict[str, str]]]:
    made: dict[str, list[dict[str, str]]] = {}
    for port in spec.ports:
        made.setdefault(f"{port.container_port}/{port.protocol}", []).append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
    return made
