"""A container that somebody else made, in the words of a spec: what can be taken over, what is lost, what blocks (pure)."""

from __future__ import annotations

from typing import Any

from agent.protocol.foreign import Foreign, ForeignSummary
from agent.protocol.parts import Limits, Mount, PortBinding
from agent.runtimes.base import LABEL_PREFIX
from agent.runtimes.docker.compare import _cpus, _env
from agent.runtimes.docker.options import NETWORK
from agent.runtimes.policy import LocalPolicy

MANAGERS = ("com.docker.swarm.", "io.kubernetes.", "com.docker.compose.")
HOST_PARTS = (("PidMode", "processes"), ("IpcMode", "shared memory"), ("UTSMode", "host name"), ("UsernsMode", "users"))


ASIDE = "-before-lormas-"


def aside(container_id: str) -> str:
    """What the name of the old one ends in, once this container has taken its place."""
    return ASIDE + container_id.replace("-", "")[:12]


def is_aside(name: str) -> bool:
    return ASIDE in name


def name_of(item: dict[str, Any]) -> str:
    names = item.get("Names") or [item.get("Name", "")]
    return str(names[0]).lstrip("/")


def summary(item: dict[str, Any]) -> ForeignSummary:
    """From the engine's listing."""
    ports = {
        (int(port["PrivatePort"]), int(port["PublicPort"]), "udp" if port.get("Type") == "udp" else "tcp")
        for port in item.get("Ports") or []
        if port.get("PublicPort")
    }
    return ForeignSummary(
        ref=str(item["Id"]),
        name=name_of(item),
        image=str(item.get("Image", "")),
        state=str(item.get("State", "")),
        created_at=str(item.get("Created", "")),
        ports=[PortBinding(container_port=inside, host_port=outside, protocol=protocol) for inside, outside, protocol in sorted(ports)],  # type: ignore[arg-type]
    )


def describe(item: dict[str, Any], *, image: dict[str, Any], named: str, policy: LocalPolicy, changed_paths: int, own_ref: str) -> Foreign:
    """From the engine's inspection. `image`: its image's `Config`; `named`: id of the image that its image's name means now, "" = none;
    `changed_paths`: what it wrote outside of its mounts."""
    config, host = item.get("Config") or {}, item.get("HostConfig") or {}
    of_image = _env(image.get("Env"))
    image_labels = image.get("Labels") or {}
    labels = {key: value for key, value in (config.get("Labels") or {}).items() if image_labels.get(key) != value}
    entrypoint, command = config.get("Entrypoint"), list(config.get("Cmd") or [])
    own_entrypoint = entrypoint != image.get("Entrypoint")
    mounts, lost, blocking = _mounts(item, policy)
    ports, odd_ports = _ports(item)
    lost += odd_ports + _lost(config, host, image=image, labels=labels, changed_paths=changed_paths, networks=_networks(item))
    if named and named != item.get("Image"):
        lost.append(("image", f"{config.get('Image')} means a newer image by now: it will run that one."))
    blocking += _blocking(host, labels, is_self=bool(own_ref) and str(item["Id"]).startswith(own_ref))
    if is_aside(name_of(item)):
        blocking.append(("taken_over", "It was taken over already: this is the old one, which was kept."))
    return Foreign(
        ref=str(item["Id"]),
        name=name_of(item),
        image=str(config.get("Image", "")) if named else str(item.get("Image", "")),
        running=bool((item.get("State") or {}).get("Running")),
        command=command if own_entrypoint or command != list(image.get("Cmd") or []) else [],
        entrypoint=list(entrypoint or []) if own_entrypoint else None,
        env={name: value for name, value in _env(config.get("Env")).items() if of_image.get(name) != value},
        labels={key: value for key, value in labels.items() if not key.startswith((*MANAGERS, LABEL_PREFIX))},
        working_dir=str(config.get("WorkingDir") or "") if config.get("WorkingDir") != image.get("WorkingDir") else "",
        user=str(config.get("User") or "") if config.get("User") != image.get("User") else "",
        tty=bool(config.get("Tty")),
        limits=Limits(
            cpus=_cpus(host),
            memory_bytes=int(host.get("Memory") or 0),
            swap_bytes=max(0, int(host.get("MemorySwap") or 0) - int(host.get("Memory") or 0)) if int(host.get("MemorySwap") or 0) > 0 else 0,
            io_weight=int(host.get("BlkioWeight") or 0),
            pids=max(0, int(host.get("PidsLimit") or 0)),
        ),
        ports=ports,
        mounts=mounts,
        restart=dict(host.get("RestartPolicy") or {"Name": "no"}),
        lost=lost,
        blocking=blocking,
    )


def _networks(item: dict[str, Any]) -> list[str]:
    return sorted((item.get("NetworkSettings") or {}).get("Networks") or {})


def _mounts(item: dict[str, Any], policy: LocalPolicy) -> tuple[list[Mount], list[tuple[str, str]], list[tuple[str, str]]]:
    kept: list[Mount] = []
    lost: list[tuple[str, str]] = []
    blocking: list[tuple[str, str]] = []
    for mount in item.get("Mounts") or []:
        kind, target = str(mount.get("Type", "")), str(mount.get("Destination", ""))
        read_only = not mount.get("RW", True)
        if kind == "volume":
            if str(mount.get("Name", "")).startswith("lormas-"):
                blocking.append(("foreign_volume", f"It uses the volume {mount.get('Name')}, which belongs to a container of Lormas."))
            kept.append(Mount(kind="volume", source=str(mount.get("Name", "")), target=target, read_only=read_only))
        elif kind == "bind":
            source = str(mount.get("Source", ""))
            if not any(source == prefix or source.startswith(prefix.rstrip("/") + "/") for prefix in policy.bind_prefixes):
                blocking.append(("bind_mount", f"It mounts {source} of the machine, which the node's policy.json does not allow (bind_prefixes)."))
            kept.append(Mount(kind="bind", source=source, target=target, read_only=read_only))
        elif kind == "tmpfs":
            kept.append(Mount(kind="tmpfs", target=target, read_only=read_only))
        else:
            blocking.append(("mount", f"Its mount at {target} is of the kind {kind}, which can't be kept."))
    known = {mount.target for mount in kept}
    memory = (item.get("HostConfig") or {}).get("Tmpfs") or {}
    kept.extend(Mount(kind="tmpfs", target=str(target)) for target in memory if target not in known)
    return kept, lost, blocking


def _ports(item: dict[str, Any]) -> tuple[list[PortBinding], list[tuple[str, str]]]:
    found: list[PortBinding] = []
    lost: list[tuple[str, str]] = []
    for key, bindings in ((item.get("HostConfig") or {}).get("PortBindings") or {}).items():
        inside, _, protocol = str(key).partition("/")
        for binding in bindings or []:
            outside = str(binding.get("HostPort") or "")
            if not outside.isdigit() or protocol not in ("tcp", "udp", ""):
                lost.append(("port", f"Its port {key} is published on whatever number was free: it gets a fixed one."))
                outside = "0"
            if binding.get("HostIp") not in ("", None, "0.0.0.0", "::"):  # noqa: S104
                lost.append(("port_address", f"Its port {key} was published on {binding['HostIp']} only: it will be on all addresses."))
            found.append(PortBinding(container_port=int(inside), host_port=int(outside), protocol="udp" if protocol == "udp" else "tcp"))
    unique = {(port.container_port, port.host_port, port.protocol): port for port in found}
    return list(unique.values()), lost


def _lost(
    config: dict[str, Any], host: dict[str, Any], *, image: dict[str, Any], labels: dict[str, str], changed_paths: int, networks: list[str]
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if changed_paths:
        words = f"What it wrote outside of its mounts (paths: {changed_paths}) stays in the old container, which is kept."
        found.append(("layer", words))
    others = [name for name in networks if name not in ("bridge", NETWORK)]
    if others:
        found.append(("networks", f"It leaves the networks {', '.join(others)}: containers there don't reach it by its name any more."))
    if any(key.startswith("com.docker.compose.") for key in labels):
        found.append(("compose", "Its Compose project does not know it any more: `docker compose up` there would make a second one."))
    if not host.get("Memory"):
        found.append(("memory", "It had no limit of memory: it gets one."))
    if config.get("Healthcheck") and config.get("Healthcheck") != image.get("Healthcheck"):
        found.append(("health", "Its own health check is not kept; that of its image is."))
    for key, code, words in (
        ("Links", "links", "Its links to other containers are not kept."),
        ("ExtraHosts", "hosts", "Its extra host names are not kept."),
        ("Dns", "dns", "Its own name servers are not kept."),
        ("Ulimits", "ulimits", "Its ulimits are not kept."),
        ("Sysctls", "sysctls", "Its kernel settings are not kept."),
        ("GroupAdd", "groups", "Its additional groups are not kept."),
    ):
        if host.get(key):
            found.append((code, words))
    if (host.get("LogConfig") or {}).get("Type") not in ("json-file", None, ""):
        found.append(("logs", "Its log goes to Lormas, no longer to its own log driver."))
    return found


def _blocking(host: dict[str, Any], labels: dict[str, str], *, is_self: bool) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if is_self:
        found.append(("self", "This is the agent's own container."))
    if host.get("AutoRemove"):
        found.append(("auto_remove", "It was started with --rm: stopping it would remove it with its data."))
    if host.get("Privileged"):
        found.append(("privileged", "It is privileged."))
    if host.get("CapAdd"):
        found.append(("capabilities", f"It has more capabilities: {', '.join(map(str, host['CapAdd']))}."))
    if host.get("Devices") or host.get("DeviceRequests"):
        found.append(("devices", "It uses devices of the machine."))
    network = str(host.get("NetworkMode") or "")
    if network in ("host", "none") or network.startswith("container:"):
        found.append(("network", f"Its network is {network.partition(':')[0]}: that can't be kept."))
    for key, words in HOST_PARTS:
        if str(host.get(key) or "").startswith(("host", "container:")):
            found.append(("namespace", f"It shares the machine's or another container's {words}."))
    if host.get("VolumesFrom"):
        found.append(("volumes_from", "It takes its volumes from another container."))
    if any(key.startswith(("com.docker.swarm.", "io.kubernetes.")) for key in labels):
        found.append(("managed", "A cluster manager made it and would make it again."))
    return found
