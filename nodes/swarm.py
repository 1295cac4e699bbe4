"""Clusters that stand on a Docker swarm: questions to the agent of one of its managers, and acts as operations (docs/adr/0020-swarm.md).

Nothing of the swarm is stored but which one it is: its managers keep the truth, replicated, and a copy here would only be older. A manager that does
not answer is passed over for another node of the cluster that manages the same swarm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from django.db import transaction

from agent.protocol import swarm as kinds
from audit.services import Actor, Target, record
from lormas.common import clock, live
from lormas.common.errors import Conflict, FieldError, NodeSilent, NodeUnavailable, NotFound, Problem, Refused
from nodes import commands, operations, registries
from nodes.models import Cluster, Node, Operation

T = TypeVar("T")

ASK_SECONDS = 12.0
ACT_SECONDS = 120.0
MOST_ASKED = 8
"""A swarm has seldom more than seven managers."""
PASSED_OVER = ("not_a_manager", "other_swarm", "no_quorum", "engine_down", "timeout", "unsupported", "unknown_command", "engine_error")
"""Refusals that another manager may not share."""
NAME = re.compile(r"^[A-Za-z0-9](?:[-_]*[A-Za-z0-9])*$")


@dataclass(frozen=True, slots=True)
class Seen:
    """A swarm as one of its managers told it at `read_at`."""

    manager: Node
    swarm_id: str
    node_id: str
    nodes: list[dict[str, Any]]
    services: list[dict[str, Any]]
    read_at: Any = field(default_factory=clock.now)

    def node(self, node_id: str) -> dict[str, Any]:
        """Raises NotFound."""
        found = next((item for item in self.nodes if item["id"] == node_id), None)
        if found is None:
            raise NotFound("There is no such node in the swarm.")
        return found

    def service(self, service_id: str) -> dict[str, Any]:
        """Raises NotFound."""
        found = next((item for item in self.services if item["id"] == service_id), None)
        if found is None:
            raise NotFound("There is no such service in the swarm.")
        return found

    def own_service(self, service_id: str) -> dict[str, Any]:
        """Raises NotFound, Conflict `foreign`."""
        found = self.service(service_id)
        if not found["ours"]:
            raise Conflict(
                f"{found['name']} was made by somebody else: it is shown here and never changed. Change it where it was made.",
                code="foreign",
                extra={"state": "foreign", "allowed": []},
            )
        return found


def target_of(cluster: Cluster) -> Target:
    return Target("cluster", str(cluster.pk), cluster.name)


def manager_needed() -> Refused:
    """Why a swarm can't be chosen yet."""
    text = "A cluster stands on a swarm through one of its nodes: put a node whose engine manages the swarm into the cluster, then choose it."
    return Refused(text, code="manager_needed", errors=[FieldError("manager", "Choose a node of this cluster whose engine manages the swarm.")])


# ------------------------------------------------------------------------------------------------------------------------------ asking


def candidates(cluster: Cluster) -> list[Node]:
    """Its nodes that may be asked, the chosen manager first, then those that are connected."""
    found = [node for node in cluster.nodes.all() if "swarm" in node.capabilities]
    return sorted(found, key=lambda node: (node.pk != cluster.manager_id, not node.gateway, node.name))


def _away(node: Node) -> str:
    since = node.disconnected_at or node.status_since
    return f"{node.name} is not connected since {clock.rfc3339(since)}" if since else f"{node.name} has never been connected"


def _ask_one(node: Node, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Raises live.NodeOffline, live.NodeTimeout, live.NodeRefused."""
    if not node.gateway:
        raise live.NodeOffline(_away(node))
    return live.ask_node(node.pk, kind, payload=payload, timeout_seconds=ASK_SECONDS)


def _ask(cluster: Cluster, kind: str, **payload: Any) -> tuple[Node, dict[str, Any]]:
    """The answer of the first manager that gives one. Raises Conflict `not_swarm`, `no_manager`; NodeUnavailable, NodeSilent; NotFound, Refused."""
    if cluster.backend != "swarm":
        raise Conflict(
            f"{cluster.name} stands on single engines. Choose Docker Swarm and a manager in its settings first.",
            code="not_swarm",
            extra={"state": cluster.backend, "allowed": ["swarm"]},
        )
    asked: list[str] = []
    silent = away = False
    for node in candidates(cluster)[:MOST_ASKED]:
        try:
            return node, _ask_one(node, kind, {**payload, "swarm_id": cluster.swarm_id})
        except live.NodeOffline:
            away = True
            asked.append(_away(node) if not node.gateway else f"{node.name} is not connected")
        except live.NodeTimeout:
            silent = True
            asked.append(f"{node.name} did not answer within {ASK_SECONDS:g} s")
        except live.NodeRefused as error:
            if error.code not in PASSED_OVER:
                raise _problem(error.code, error.detail) from error
            away = away or error.code in ("no_quorum", "engine_down", "timeout")
            asked.append(f"{node.name}: {error.detail}")
    told = "; ".join(asked) or "none of its nodes has a Docker engine whose agent can tell of a swarm"
    if away:
        raise NodeUnavailable(f"No manager of the swarm of {cluster.name} can be asked: {told}.", code="swarm_offline")
    if silent:
        raise NodeSilent(f"No manager of the swarm of {cluster.name} answered: {told}. Try again.")
    raise Conflict(
        f"No node of {cluster.name} manages its swarm: {told}. Choose another manager in the cluster's settings.",
        code="no_manager",
        extra={"state": "no_manager", "allowed": []},
    )


def _problem(code: str, detail: str) -> Problem:
    if code == "not_found":
        return NotFound(detail)
    if code in ("foreign", "name_taken"):
        return Conflict(detail, code=code, extra={"state": code, "allowed": []})
    return Refused(detail, code=code)


def chosen(cluster: Cluster, *, backend: str, manager: Node | None) -> dict[str, Any]:
    """What follows for the cluster from this choice: `{backend, manager, swarm_id}`; {} where nothing changes. Asks the manager.

    Raises:
        Refused: `manager_needed`, `not_in_cluster`, `not_a_manager`. NodeUnavailable, NodeSilent.
    """
    if (backend, getattr(manager, "pk", None)) == (cluster.backend, cluster.manager_id):
        return {}
    if backend != "swarm":
        return {"backend": backend, "manager": None, "swarm_id": ""}
    if manager is None:
        raise manager_needed()
    if manager.cluster_id != cluster.pk:
        text = f"{manager.name} is not a node of this cluster."
        raise Refused(f"{text} Put it there first.", code="not_in_cluster", errors=[FieldError("manager", text)])
    try:
        view = _ask_one(manager, "swarm.look", {}).get("swarm") or {}
    except live.NodeOffline as error:
        raise NodeUnavailable(f"{_away(manager)}: it has to say which swarm it manages.") from error
    except live.NodeTimeout as error:
        raise NodeSilent(f"{manager.name} did not answer in time: try again.") from error
    except live.NodeRefused as error:
        text = f"{manager.name}: {error.detail}"
        raise Refused(text, code=error.code, errors=[FieldError("manager", text, error.code)]) from error
    return {"backend": "swarm", "manager": manager, "swarm_id": str(view.get("swarm_id", ""))}


def look(cluster: Cluster) -> Seen:
    """The swarm now. Raises as `_ask` says."""
    node, answer = _ask(cluster, "swarm.look")
    view = _read(node, answer.get("swarm"), kinds.SwarmView)
    nodes = [msgspec.structs.asdict(item) for item in view.nodes]
    services = [{**msgspec.structs.asdict(item), "ports": [msgspec.structs.asdict(port) for port in item.ports]} for item in view.services]
    return Seen(manager=node, swarm_id=view.swarm_id, node_id=view.node_id, nodes=nodes, services=services)


def _read(node: Node, answer: Any, kind: type[T]) -> T:
    """What an agent said, in full: what has its default does not go over the wire."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"The agent of {node.name} speaks another language: {error}. Upgrade it.", code="bad_answer") from error


def tasks(cluster: Cluster, service_id: str) -> list[dict[str, Any]]:
    """Of one service: what is to run by slot, then what has ended, newest first. Raises NotFound, and as `look`."""
    node, answer = _ask(cluster, "swarm.tasks", service_id=service_id)
    return [msgspec.structs.asdict(task) for task in _read(node, answer.get("tasks") or [], list[kinds.SwarmTask])]


# -------------------------------------------------------------------------------------------------------------------------------- acts


def _begin(cluster: Cluster, manager: Node, kind: str, *, user: Any, payload: Any, message: str) -> Operation:
    operation = operations.open_operation(
        kind.replace("node.", "cluster."),
        user=user,
        target_type="cluster",
        target_id=cluster.pk,
        target_label=cluster.name,
        deadline_seconds=ACT_SECONDS,
        message=message,
    )
    commands.enqueue(manager, kind, payload=payload, operation=operation, deadline_seconds=ACT_SECONDS)
    return operation


def create_service(
    cluster: Cluster,
    *,
    user: Any,
    actor: Actor,
    name: str,
    image: str,
    mode: str = "replicated",
    replicas: int = 1,
    command: list[str] | None = None,
    env: dict[str, str] | None = None,
    cpus: float = 0,
    memory_bytes: int = 0,
    ports: list[dict[str, Any]] | None = None,
) -> Operation:
    """A new service; the operation ends when the swarm has taken it, and its tasks start after that. `mode` global: one task on each node.

    Raises:
        Refused `invalid_name`, `unsupported` (the manager's agent is too old for a global one); Conflict `name_taken`; and as `look`.
    """
    if not NAME.match(name) or len(name) > 63:
        text = "Letters, digits, and - or _ between them; at most 63."
        raise Refused(f"{name} is no name of a service.", code="invalid_name", errors=[FieldError("name", text, "invalid_name")])
    seen = look(cluster)
    if any(item["name"] == name for item in seen.services):
        text = f"The swarm has a service called {name} already."
        extra = {"state": "name_taken", "allowed": []}
        raise Conflict(f"{text} Choose another name.", code="name_taken", errors=[FieldError("name", text, "unique")], extra=extra)
    if mode == "global":
        _require_change(seen.manager, "mode", "make a service that runs once on each node")
    payload = kinds.SwarmCreate(
        swarm_id=seen.swarm_id,
        name=name,
        image=image,
        mode=mode,
        replicas=replicas,
        command=list(command or ()),
        env=dict(env or {}),
        cpus=cpus,
        memory_bytes=memory_bytes,
        ports=[kinds.SwarmPort(**port) for port in ports or ()],
        registry_auth=registries.auth_for(image, shared_only=False),
    )
    after = {"name": name, "image": image, "mode": mode, "replicas": replicas, "env": sorted(payload.env), "ports": list(ports or ())}
    with transaction.atomic():
        operation = _begin(cluster, seen.manager, "node.swarm_create", user=user, payload=payload, message=f"Making service {name}")
        record("clusters.service_create", actor=actor, target=target_of(cluster), after=after)
    return operation


TOLD_AS = {"replicas": "wanted", "env": "env_names"}
"""What of a service is asked for under one name, and told by the swarm under another."""


def update_service(cluster: Cluster, service_id: str, *, user: Any, actor: Actor, **changes: Any) -> Operation:
    """Change `replicas`, `image`, `cpus`, `memory_bytes`, `env`, `ports` of one of ours; what its tasks have to be made anew for is rolled out
    one task at a time, and rolled back if it fails. `env` sets the variables it names and takes off those that are None; the others stay.

    Raises:
        NotFound; Conflict `foreign`; Refused `nothing_to_do`, `invalid_spec`, `unsupported` (the manager's agent is too old); and as `look`.
    """
    seen = look(cluster)
    service = seen.own_service(service_id)
    if "replicas" in changes and service["mode"] != "replicated":
        text = "It runs once on each node: it has no count of replicas."
        raise Refused(text, code="invalid_spec", errors=[FieldError("replicas", text, "invalid_spec")])
    wished = {name: value for name, value in changes.items() if _differs(service, name, value)}
    if not wished:
        raise Refused(f"{service['name']} is so already.", code="nothing_to_do")
    for name, act in (("env", "change the environment of a service"), ("ports", "change the ports of a service")):
        if name in wished:
            _require_change(seen.manager, name, act)
    # Values of the environment are written down nowhere.
    before = {name: service[TOLD_AS.get(name, name)] for name in wished}
    after: dict[str, Any] = {**wished, "name": service["name"]}
    if "env" in wished:
        after["env"] = [f"{name} removed" if value is None else f"{name} set" for name, value in sorted(wished["env"].items())]
    if "ports" in wished:
        wished["ports"] = [kinds.SwarmPort(**port) for port in wished["ports"]]
    auth = registries.auth_for(wished["image"], shared_only=False) if "image" in wished else None
    payload = kinds.SwarmUpdate(swarm_id=seen.swarm_id, service_id=service_id, registry_auth=auth, **wished)
    with transaction.atomic():
        operation = _begin(cluster, seen.manager, "node.swarm_update", user=user, payload=payload, message=f"Changing service {service['name']}")
        record("clusters.service_update", actor=actor, target=target_of(cluster), before=before, after=after)
    return operation


def _differs(service: dict[str, Any], name: str, value: Any) -> bool:
    if name == "env":  # values are not told: what is set may be another one
        return any(text is not None or key in service["env_names"] for key, text in value.items())
    if name == "ports":
        return sorted(map(_port_words, value)) != sorted(map(_port_words, service["ports"]))
    return bool(service[TOLD_AS.get(name, name)] != value)


def _port_words(port: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(port[name] for name in ("published_port", "container_port", "protocol", "mode"))


def _require_change(manager: Node, field: str, act: str) -> None:
    """Raises Refused `unsupported`: an older agent would leave out what it does not know, and say that all is well."""
    if "swarm_change" not in manager.capabilities:
        text = f"The agent of {manager.name} is too old to {act}: upgrade it."
        raise Refused(text, code="unsupported", errors=[FieldError(field, text, "unsupported")])


def remove_service(cluster: Cluster, service_id: str, *, user: Any, actor: Actor) -> Operation:
    """Remove one of ours, its tasks and their files. Raises NotFound; Conflict `foreign`; and as `look`."""
    seen = look(cluster)
    service = seen.own_service(service_id)
    payload = kinds.SwarmRemove(swarm_id=seen.swarm_id, service_id=service_id)
    before = {"name": service["name"], "image": service["image"], "replicas": service["wanted"]}
    with transaction.atomic():
        operation = _begin(cluster, seen.manager, "node.swarm_remove", user=user, payload=payload, message=f"Removing service {service['name']}")
        record("clusters.service_remove", actor=actor, target=target_of(cluster), before=before)
    return operation


def set_availability(cluster: Cluster, node_id: str, availability: str, *, user: Any, actor: Actor) -> Operation:
    """active: takes tasks. pause: keeps them and takes no new ones. drain: its tasks go to other nodes. Raises NotFound, Refused `nothing_to_do`,
    and as `look`."""
    seen = look(cluster)
    node = seen.node(node_id)
    if node["availability"] == availability:
        raise Refused(f"{node['hostname']} is {availability} already.", code="nothing_to_do")
    payload = kinds.SwarmAvailability(swarm_id=seen.swarm_id, node_id=node_id, availability=availability)
    before = {"node": node["hostname"], "availability": node["availability"]}
    with transaction.atomic():
        message = f"{node['hostname']}: {availability}"
        operation = _begin(cluster, seen.manager, "node.swarm_availability", user=user, payload=payload, message=message)
        record("clusters.swarm_node", actor=actor, target=target_of(cluster), before=before, after={**before, "availability": availability})
    return operation
