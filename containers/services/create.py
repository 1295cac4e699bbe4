"""Creating a container: place it, promise it capacity and ports, and ask its node. All or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.access import has
from agent.protocol.commands import CreatePayload
from agent.protocol.messages import ContainerSpec, Mount, PortBinding, RegistryAuth, StopSpec
from audit.services import Actor, record
from containers import whereabouts
from containers.models import Container, ContainerSettings, Port
from containers.services import quotas, sessions
from containers.services.locks import require_online, take
from containers.services.manners import with_manners
from containers.services.publish import announce, target
from containers.services.wish import startup_of
from containers.spec import Asked, as_kept, build_spec
from containers.states import Desired
from eggs.definition import DefaultLimits, EggDefinition
from eggs.models import Egg
from eggs.rendering import check_values, needs_image
from lormas.common.crypto import decrypt, encrypt
from lormas.common.errors import Conflict, FieldError, Invalid, Refused
from nodes import commands, placement, registries, selectors
from nodes.models import Cluster, Node, Operation
from nodes.services import claim

CREATE_SECONDS = 1000
"""A pull may take 15 minutes."""


@dataclass(frozen=True, slots=True)
class PortWish:
    """A container port to publish. `host` 0: any free port of the node's range."""

    container: int
    host: int = 0
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class NewContainer:
    """What a person asks for; already of the right shape."""

    name: str
    egg: Egg | None = None
    image: str = ""
    command: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    startup: str = ""
    """Name of one of the egg's startup commands; empty: its first."""
    labels: dict[str, str] = field(default_factory=dict)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    asked: Asked = field(default_factory=Asked)
    ports: list[PortWish] = field(default_factory=list)
    node: Node | None = None
    cluster: Cluster | None = None
    start: bool = True
    restart_policy: str = "unless-stopped"
    is_session: bool = False
    registry: dict[str, str] = field(default_factory=dict)
    """{server, username, password} for one private image; the password is kept encrypted."""
    description: str = ""
    placement: dict[str, Any] = field(default_factory=dict)
    """{node_labels, tolerations, affinity, movable}, as `nodes.api.placement` checks it."""


def create_container(*, user: Any, actor: Actor, data: NewContainer) -> tuple[Container, Operation]:
    """Place and create; returns the row and the operation that makes it real.

    Raises:
        Invalid: a variable of the egg is wrong (errors name them). Conflict `name_taken` / `port_taken`. Refused `no_placement` (with the
        reason of every node), `quota`, `too_many_sessions` or `port_out_of_range`. NodeUnavailable: the chosen node is offline.
    """
    if data.node is not None:
        require_online(data.node)
    with transaction.atomic():
        if Container.objects.alive().filter(owner=user, name=data.name).exists():
            raise Conflict(f"You already have a container named {data.name}: choose another name.", code="name_taken")
        container = row_of(user=user, data=data)
        quotas.take(container, user=user)
        if data.start:
            sessions.take_place(container)
        startup, wishes = startup_of(container, wishes=[(w.container, w.host, w.protocol) for w in data.ports])
        wrong = startup.errors or forbidden_values(container, data.variables, user=user)
        if wrong:
            raise Invalid("Some values don't fit the egg.", code="invalid_variables", errors=wrong)
        container.image = startup.startup.image
        node = _place(container, data, wishes)
        try:
            with transaction.atomic():
                container.node = node
                container.save(force_insert=True)
        except IntegrityError:
            raise Conflict(f"You already have a container named {data.name}: choose another name.", code="name_taken") from None
        if data.is_session:
            ContainerSettings.objects.create(container=container, idle_timeout_seconds=settings.SESSION_IDLE_TIMEOUT)
        allocate_ports(container, node, wishes)
        spec = render_spec(container)
        container.spec = as_kept(spec)
        container.save(update_fields=["spec"])
        operation = _ask_node(container, node, spec, user=user, start=data.start)
        record(
            "containers.create",
            actor=actor,
            target=target(container),
            after={"image": container.image, "node": node.name, "egg": data.egg.name if data.egg else None},
        )
        announce(container)
    return container, operation


def _ask_node(container: Container, node: Node, spec: ContainerSpec, *, user: Any, start: bool) -> Operation:
    """The durable command that makes it real: with its egg's install script first, if there is one."""
    from containers.services import install

    script = install.script_of(container, spec)
    if script is not None:
        operation = take(container, "install", user=user, deadline_seconds=install.deadline_seconds())
        install.enqueue_install(container, spec=spec, script=script, operation=operation, start=start, stop=StopSpec())
        return operation
    operation = take(container, "create", user=user, deadline_seconds=CREATE_SECONDS)
    commands.enqueue(
        node,
        "container.create",
        payload=CreatePayload(spec=spec, start=start, registry_auth=registry_auth(container)),
        operation=operation,
        subject_id=container.pk,
        epoch=container.epoch,
        deadline_seconds=CREATE_SECONDS,
    )
    return operation


def forbidden_values(container: Container, variables: dict[str, str], *, user: Any) -> list[FieldError]:
    """Variables that this person may not set (an egg's `user_editable`); those who manage eggs may set all."""
    if container.egg_version is None:
        return []
    definition = EggDefinition.from_json(container.egg_version.definition)
    return check_values(definition, variables, privileged=has(user, "eggs.manage"))


def row_of(*, user: Any, data: NewContainer) -> Container:
    """The row of what was asked for, not saved and without a node."""
    registry = dict(data.registry)
    if registry.get("password"):
        registry["password"] = encrypt(registry["password"], keys=settings.FIELD_KEYS)
    asked, usual = data.asked, EggDefinition.from_json(data.egg.current.definition).limits if data.egg and data.egg.current else DefaultLimits()
    return Container(
        name=data.name,
        description=data.description,
        owner=user,
        egg=data.egg,
        egg_version=data.egg.current if data.egg else None,
        image=data.image,
        command=data.command,
        env=data.env,
        variables=data.variables,
        startup=data.startup,
        labels=data.labels,
        mounts=data.mounts,
        cpus=asked.cpus or usual.cpus or settings.CONTAINER_CPU_LIMIT,
        memory_bytes=asked.memory_bytes or usual.memory_bytes or settings.CONTAINER_MEMORY_LIMIT,
        swap_bytes=asked.swap_bytes,
        disk_bytes=asked.disk_bytes,
        io_weight=asked.io_weight,
        pids=usual.pids if usual.pids and asked.pids == Asked().pids else asked.pids,
        restart_policy=data.restart_policy,
        placement=data.placement,
        is_session=data.is_session,
        registry=registry,
        desired=Desired.RUNNING if data.start else Desired.STOPPED,
    )


def registry_auth(container: Container) -> RegistryAuth | None:
    """Credentials for its pull, decrypted: its own, else those of a registry that is shared; None for public images."""
    kept = container.registry
    if not kept.get("username"):
        return registries.auth_for(container.image, shared_only=True)
    password = decrypt(kept["password"], keys=settings.FIELD_KEYS) if kept.get("password") else ""
    return RegistryAuth(server=kept.get("server", ""), username=kept["username"], password=password)


def demand_of(container: Container, wishes: list[tuple[int, int, str]], *, node: Node | None, cluster: Cluster | None) -> placement.Demand:
    """What placement needs to know of a container."""
    return placement.Demand(
        cpus=container.cpus,
        memory_bytes=container.memory_bytes,
        disk_bytes=container.disk_bytes,
        ports=tuple((protocol, host) for _, host, protocol in wishes if host),
        port_count=max(Counter(protocol for _, _, protocol in wishes).values(), default=0),
        node_id=node.pk if node else None,
        cluster_id=cluster.pk if cluster else None,
        needs_images=container.egg_version is None or needs_image(EggDefinition.from_json(container.egg_version.definition)),
        labels=container.placement.get("node_labels", {}),
        tolerations=whereabouts.tolerations_of(container.placement),
        affinity=whereabouts.affinity_of(container.placement),
    )


def _place(container: Container, data: NewContainer, wishes: list[tuple[int, int, str]]) -> Node:
    """The first node in rank order whose capacity can be claimed (conditional UPDATE: rivals can't both win)."""
    if data.node is not None:
        _check_host_ports(data.node, wishes)
    demand = demand_of(container, wishes, node=data.node, cluster=data.cluster)
    views = selectors.placement_views(
        cluster_id=data.cluster.pk if data.cluster else None,
        ports_taken=whereabouts.ports_held(list(demand.ports)),
        running=whereabouts.labels_there(demand.affinity),
    )
    ranking = placement.rank(demand, views, strategy=data.cluster.strategy if data.cluster else "spread")
    for candidate in ranking.candidates:
        if claim(candidate.id, cpus=container.cpus, memory_bytes=container.memory_bytes, disk_bytes=container.disk_bytes):
            container.placed = whereabouts.told(ranking, candidate)
            return data.node if data.node is not None else Node.objects.get(pk=candidate.id)
    rejected = [{"node": r.node_name, "rule": r.rule, "reason": r.reason} for r in ranking.rejected]
    if not views:
        raise Refused("There is no node yet: add one under Nodes.", code="no_placement", extra={"rejected": []})
    if data.node is not None and not ranking.candidates and rejected:
        _check_host_ports(data.node, wishes)  # a rival may have taken the port between the look above and the ranking: that is the answer then
        raise Refused(
            f"{data.node.name} can't take it: {rejected[0]['reason'] if len(rejected) == 1 else _reason_of(data.node.name, rejected)}",
            code="no_placement",
            extra={"rejected": rejected},
        )
    why = "; ".join(f"{r['node']}: {r['reason']}" for r in rejected[:5]) or "other containers took the last room a moment ago"
    raise Refused(f"No node can take it. {why}", code="no_placement", extra={"rejected": rejected})


def _reason_of(name: str, rejected: list[dict[str, str]]) -> str:
    return next((r["reason"] for r in rejected if r["node"] == name), rejected[0]["reason"])


def _check_host_ports(node: Node, wishes: list[tuple[int, int, str]]) -> None:
    for index, (_, host, protocol) in enumerate(wishes):
        if host and not node.port_first <= host <= node.port_last:
            raise Refused(
                f"Port {host} is outside the range of {node.name} ({node.port_first}-{node.port_last}).",
                code="port_out_of_range",
                errors=[
                    FieldError(f"ports.{index}.host", f"Choose from {node.port_first}-{node.port_last}, or leave it empty.", "port_out_of_range")
                ],
            )
        if host and Port.objects.filter(node=node, protocol=protocol, host_port=host).exists():
            raise port_taken(node, host, protocol, index)


def port_taken(node: Node, host: int, protocol: str, index: int) -> Conflict:
    """The refusal for a port that another container holds."""
    return Conflict(
        f"Port {host}/{protocol} of {node.name} is taken by another container.",
        code="port_taken",
        errors=[FieldError(f"ports.{index}.host", "This port is taken: choose another one, or leave it empty.", "port_taken")],
    )


def allocate_ports(container: Container, node: Node, wishes: list[tuple[int, int, str]]) -> list[Port]:
    """A row for each wish, in their order, under the unique constraint; a rival who took the same free port makes us try the next one. Wishes
    for one container port, or for the one that a server is told, get one number together for TCP and UDP.

    Raises:
        Refused `port_out_of_range`, `no_free_port`. Conflict `port_taken`.
    """
    _check_host_ports(node, [w for w in wishes if w[1]])
    made: dict[int, Port] = {}
    for group in _together(wishes):
        first, (_, host, _) = group[0]
        protocols = [protocol for _, (_, _, protocol) in group]
        for number in [host] if host else free_ports(node, protocols):
            rows = [
                Port(
                    container=container, node=node, host_port=number, container_port=inside or number, protocol=protocol, is_primary=index == 0,
                    automatic=not host, follows=not inside,
                )
                for index, (inside, _, protocol) in group
            ]  # fmt: skip
            try:
                with transaction.atomic():
                    for row in rows:
                        row.save(force_insert=True)
                made |= {index: row for (index, _), row in zip(group, rows, strict=True)}
                break
            except IntegrityError:
                if host:
                    raise port_taken(node, host, protocols[0], first) from None
        else:
            names = " and ".join(protocols)
            raise Refused(f"{node.name} has no free {names} port left in {node.port_first}-{node.port_last}.", code="no_free_port")
    return [made[index] for index in range(len(wishes))]


def _together(wishes: list[tuple[int, int, str]]) -> list[list[tuple[int, tuple[int, int, str]]]]:
    """Wishes with their places, in groups that share a host port."""
    groups: list[list[tuple[int, tuple[int, int, str]]]] = []
    for index, wish in enumerate(wishes):
        inside, host, protocol = wish
        mates = (g for g in groups if g[0][1][:2] == (inside, 0) and all(protocol != other for _, (_, _, other) in g))
        mate = None if host else next(mates, None)
        if mate is not None:
            mate.append((index, wish))
        else:
            groups.append([(index, wish)])
    return groups


def free_ports(node: Node, protocols: Sequence[str], *, most: int = 50) -> list[int]:
    """The first few that are free for all of these: enough to survive rivals, never the whole range."""
    taken = set(Port.objects.filter(node=node, protocol__in=protocols).values_list("host_port", flat=True))
    free = (port for port in range(node.port_first, node.port_last + 1) if port not in taken)
    return list(islice(free, most))


def bindings(container: Container) -> list[PortBinding]:
    """Its ports as its node has them, the primary one first."""
    return [
        PortBinding(container_port=p.container_port, host_port=p.host_port, protocol="udp" if p.protocol == "udp" else "tcp")
        for p in container.ports.order_by("-is_primary", "id")
    ]


def render_spec(container: Container) -> ContainerSpec:
    """The spec of a saved container as its node should have it now."""
    ports = bindings(container)
    rendered, _ = startup_of(container, ports=ports)
    if rendered.errors:
        raise Invalid("Some values don't fit the egg.", code="invalid_variables", errors=rendered.errors)
    spec = build_spec(
        container_id=str(container.pk),
        name=container.name,
        startup=rendered.startup,
        asked=Asked.of(container),
        ports=ports,
        labels=container.labels,
        mounts=[msgspec.convert(mount, Mount) for mount in container.mounts],
        default_cpus=settings.CONTAINER_CPU_LIMIT,
        default_memory_bytes=settings.CONTAINER_MEMORY_LIMIT,
    )
    return with_manners(container, spec)


__all__ = [
    "CREATE_SECONDS",
    "NewContainer",
    "PortWish",
    "allocate_ports",
    "create_container",
    "demand_of",
    "free_ports",
    "registry_auth",
    "render_spec",
    "row_of",
]
