"""What this machine's owner allows, whatever the panel says (SECURITY.md A13), and the limits that hold where a spec names none (A09)."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.protocol.messages import ContainerSpec
from agent.runtimes.base import LABEL_PREFIX, RuntimeFailure

MIB = 1024 * 1024

_ADDABLE = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID IPC_LOCK IPC_OWNER KILL MKNOD NET_ADMIN NET_BIND_SERVICE NET_RAW
SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_CHROOT SYS_NICE SYS_PTRACE SYS_RESOURCE SYS_TIME
"""
ADDABLE_CAPABILITIES = frozenset(_ADDABLE.split())
"""What can be asked for at all. `ALL` and the ones that own the kernel (SYS_MODULE, SYS_RAWIO, BPF...) can't."""


_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,254}")
TUNNEL_IMAGE = "cloudflare/cloudflared:latest"


@dataclass(frozen=True, slots=True)
class LocalPolicy:
    """The node's own rules. Everything is closed unless its owner opens it in the agent's configuration; the panel can't."""

    privileged: bool = False
    host_network: bool = False
    cap_add: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    """Host device paths that may be passed on, e.g. `/dev/kvm`."""
    bind_prefixes: tuple[str, ...] = ()
    """Host folders under which bind mounts are allowed."""
    port_min: int = 1
    port_max: int = 65535
    install_scripts: bool = False
    """May install scripts run under the process runtime, as plain programs of this machine? (In an engine they always may.)"""
    adopt: bool = False
    """May the panel's administrators take over containers of this engine that Lormas did not make, with their volumes?"""
    tunnels: bool = True
    """May people publish their containers by tunnels of their own?"""
    tunnel_image: str = TUNNEL_IMAGE
    """What a tunnel's program is taken from. Only this file names it: the panel can't have another program run there."""
    image_disk_floor_percent: float = 10.0
    """So much of the engine's disk stays free of images: a pull is refused, or broken off, before that."""
    pulls_at_once: int = 3
    """Further ones wait their turn."""


@dataclass(frozen=True, slots=True)
class LimitDefaults:
    """Limits of a container whose spec says 0. A 0 here means: what the machine has (all cores; 80 % of its memory)."""

    cpus: float = 0
    memory_bytes: int = 0
    pids: int = 512
    log_max_bytes: int = 10 * MIB
    log_files: int = 3
    stop_grace_seconds_max: float = 600


def denied(what: str) -> RuntimeFailure:
    return RuntimeFailure("policy_denied", f"The node's own policy forbids {what}.")


def invalid(what: str) -> RuntimeFailure:
    return RuntimeFailure("invalid_spec", what)


def clean_path(path: str, *, what: str) -> str:
    """An absolute path without `..`, doubled slashes or NUL.

    Raises:
        RuntimeFailure: `invalid_spec`.
    """
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise invalid(f"{what} must be an absolute path without '..': {path!r}")
    return posixpath.normpath("/" + path.lstrip("/"))


def capability(name: str) -> str:
    """`CAP_NET_RAW`, `net_raw` -> `NET_RAW`."""
    return name.upper().removeprefix("CAP_")


def check(spec: ContainerSpec, policy: LocalPolicy) -> None:
    """Refuse what this node does not allow, and what is not well-formed.

    Raises:
        RuntimeFailure: `policy_denied` or `invalid_spec`.
    """
    if not spec.container_id or "/" in spec.container_id or spec.container_id.startswith("."):
        raise invalid(f"not a container id: {spec.container_id!r}")
    if spec.privileged and not policy.privileged:
        raise denied("privileged containers")
    if spec.network_mode not in ("bridge", "none", "host"):
        raise denied(f"the network mode {spec.network_mode!r}")
    if spec.network_mode == "host" and not policy.host_network:
        raise denied("the host's network")
    for name in map(capability, spec.cap_add):
        if name not in ADDABLE_CAPABILITIES or name not in policy.cap_add:
            raise denied(f"the capability {name}")
    for device in spec.devices:
        if device not in policy.devices:
            raise denied(f"the device {device}")
    _check_mounts(spec, policy)
    _check_ports(spec, policy)
    for key, value in spec.env.items():
        if not key or "=" in key or "\0" in key or "\0" in value:
            raise invalid(f"not a name for an environment variable: {key!r}")
    if any("\0" in word for word in (*spec.command, *(spec.entrypoint or []), *spec.process_command)):
        raise invalid("a command can't hold a NUL character")


def _check_mounts(spec: ContainerSpec, policy: LocalPolicy) -> None:
    targets: set[str] = set()
    for mount in spec.mounts:
        if mount.kind not in ("data", "tmpfs", "bind", "volume"):
            raise denied(f"mounts of kind {mount.kind!r}")
        target = clean_path(mount.target, what="a mount's target")
        if target == "/" or target in targets:
            raise invalid(f"two mounts, or one on the root, at {target}")
        targets.add(target)
        if mount.kind == "volume":
            if not policy.adopt:
                raise denied("volumes of containers that were taken over (adopt)")
            if not _VOLUME.fullmatch(mount.source) or mount.source.startswith("lormas-"):
                raise denied(f"the volume {mount.source!r}")  # another container's own (A02)
        if mount.kind == "bind":
            source = clean_path(mount.source, what="a mount's source")
            if not any(source == prefix or source.startswith(prefix.rstrip("/") + "/") for prefix in policy.bind_prefixes):
                raise denied(f"mounting {source} of the host")


def _check_ports(spec: ContainerSpec, policy: LocalPolicy) -> None:
    taken: set[tuple[int, str]] = set()
    for port in spec.ports:
        if not 1 <= port.container_port <= 65535 or not 1 <= port.host_port <= 65535:
            raise invalid(f"not a port: {port.container_port} -> {port.host_port}")
        if not policy.port_min <= port.host_port <= policy.port_max:
            raise denied(f"publishing port {port.host_port}")
        try:
            ipaddress.ip_address(port.host_ip)
        except ValueError:
            raise invalid(f"not an address: {port.host_ip!r}") from None
        key = (port.host_port, port.protocol)
        if key in taken:
            raise invalid(f"host port {port.host_port} is named twice")
        taken.add(key)


def own_labels(labels: dict[str, str]) -> dict[str, str]:
    """The user's labels without any that pretends to be ours (SECURITY.md A11)."""
    return {key: value for key, value in labels.items() if not key.lower().startswith(LABEL_PREFIX)}


POLICY_FILE = "policy.json"


def load_policy(folder: Path) -> LocalPolicy:
    """From `policy.json` in the agent's own folder (closed if there is none). The panel has no way to write it.

    Keys: privileged, host_network, install_scripts, adopt, tunnels (booleans), cap_add, devices, bind_prefixes (lists), port_min, port_max (numbers),
    tunnel_image (text), image_disk_floor_percent, pulls_at_once (numbers).

    Raises:
        RuntimeFailure: `invalid_spec`, if the file can't be understood: better no agent than one that is open by mistake.
    """
    try:
        found = msgspec.json.decode((folder / POLICY_FILE).read_bytes(), type=_PolicyFile)
    except FileNotFoundError:
        return LocalPolicy()
    except (OSError, msgspec.DecodeError) as error:
        raise invalid(f"{POLICY_FILE} can't be read: {error}") from error
    return LocalPolicy(
        privileged=found.privileged,
        host_network=found.host_network,
        cap_add=frozenset(map(capability, found.cap_add)),
        devices=frozenset(found.devices),
        bind_prefixes=tuple(clean_path(prefix, what="a bind prefix") for prefix in found.bind_prefixes),
        port_min=found.port_min,
        port_max=found.port_max,
        install_scripts=found.install_scripts,
        adopt=found.adopt,
        tunnels=found.tunnels,
        tunnel_image=found.tunnel_image,
        image_disk_floor_percent=min(95.0, max(0.0, found.image_disk_floor_percent)),
        pulls_at_once=max(1, found.pulls_at_once),
    )


class _PolicyFile(msgspec.Struct, forbid_unknown_fields=True):
    privileged: bool = False
    host_network: bool = False
    cap_add: list[str] = []
    devices: list[str] = []
    bind_prefixes: list[str] = []
    port_min: int = 1
    port_max: int = 65535
    install_scripts: bool = False
    adopt: bool = False
    tunnels: bool = True
    tunnel_image: str = TUNNEL_IMAGE
    image_disk_floor_percent: float = 10.0
    pulls_at_once: int = 3
