"""Between the swarm's JSON and our words. Building is an allow-list, as for containers: nothing is passed through (SECURITY A01-A13)."""

from __future__ import annotations

import copy
from typing import Any

from agent.protocol.swarm import SwarmCreate, SwarmNode, SwarmPort, SwarmService, SwarmTask, SwarmUpdate
from agent.runtimes.base import LABEL_INSTANCE, LABEL_OPERATION, RuntimeFailure
from agent.runtimes.docker.options import CAP_DROP, LABEL_MANAGED, MIN_MEMORY
from agent.runtimes.policy import LimitDefaults

NANO = 1_000_000_000


def node(item: dict[str, Any], *, tasks: int) -> SwarmNode:
    """From `GET /nodes`."""
    spec, status, about = item.get("Spec") or {}, item.get("Status") or {}, item.get("Description") or {}
    manager, room = item.get("ManagerStatus") or {}, about.get("Resources") or {}
    return SwarmNode(
        id=str(item.get("ID", "")),
        hostname=str(about.get("Hostname", "")),
        role=str(spec.get("Role", "worker")),
        availability=str(spec.get("Availability", "active")),
        state=str(status.get("State", "unknown")),
        is_leader=bool(manager.get("Leader")),
        address=str(status.get("Addr", "") or str(manager.get("Addr", "")).rpartition(":")[0]),
        message=str(status.get("Message", ""))[:300],
        engine_version=str((about.get("Engine") or {}).get("EngineVersion", "")),
        cpus=round(int(room.get("NanoCPUs") or 0) / NANO, 2),
        memory_bytes=int(room.get("MemoryBytes") or 0),
        tasks=tasks,
    )


def _image(reference: str) -> str:
    """Without the digest that an engine may have put behind the tag."""
    return reference.partition("@")[0] or reference


def service(item: dict[str, Any], *, ours: bool, running: int, planned: int) -> SwarmService:
    """From `GET /services`. `planned` counts its tasks that are to run: what a service of one a node wants."""
    spec, update = item.get("Spec") or {}, item.get("UpdateStatus") or {}
    template = spec.get("TaskTemplate") or {}
    holds, limits = template.get("ContainerSpec") or {}, (template.get("Resources") or {}).get("Limits") or {}
    mode, wanted = _mode(spec.get("Mode") or {})
    return SwarmService(
        id=str(item.get("ID", "")),
        name=str(spec.get("Name", "")),
        image=_image(str(holds.get("Image", ""))),
        mode=mode,
        wanted=planned if wanted is None else wanted,
        running=running,
        ours=ours,
        update_state=str(update.get("State", "")),
        update_message=str(update.get("Message", ""))[:300],
        ports=[
            port for one in (item.get("Endpoint") or {}).get("Ports") or (spec.get("EndpointSpec") or {}).get("Ports") or [] if (port := _port(one))
        ],
        command=[*map(str, holds.get("Command") or ()), *map(str, holds.get("Args") or ())],
        env_names=sorted({str(pair).partition("=")[0] for pair in holds.get("Env") or ()}),
        cpus=round(int(limits.get("NanoCPUs") or 0) / NANO, 2),
        memory_bytes=int(limits.get("MemoryBytes") or 0),
        operation_id=str((spec.get("Labels") or {}).get(LABEL_OPERATION, "")) if ours else "",
        created_at=str(item.get("CreatedAt", "")),
        updated_at=str(item.get("UpdatedAt", "")),
    )


def _mode(mode: dict[str, Any]) -> tuple[str, int | None]:
    if "Replicated" in mode:
        return "replicated", int((mode["Replicated"] or {}).get("Replicas") or 0)
    return ("global", None) if "Global" in mode else ("job", None)


def _port(item: dict[str, Any]) -> SwarmPort | None:
    if not item.get("TargetPort"):
        return None
    return SwarmPort(
        container_port=int(item["TargetPort"]),
        published_port=int(item.get("PublishedPort") or 0),
        protocol=str(item.get("Protocol", "tcp")),
        mode=str(item.get("PublishMode", "ingress")),
    )


def task(item: dict[str, Any], *, names: dict[str, str]) -> SwarmTask:
    """From `GET /tasks`. `names` are host names by node id."""
    status, where = item.get("Status") or {}, str(item.get("NodeID", ""))
    code = (status.get("ContainerStatus") or {}).get("ExitCode")
    return SwarmTask(
        id=str(item.get("ID", "")),
        slot=int(item.get("Slot") or 0),
        node_id=where,
        node=names.get(where, ""),
        state=str(status.get("State", "")),
        desired=str(item.get("DesiredState", "")),
        image=_image(str(((item.get("Spec") or {}).get("ContainerSpec") or {}).get("Image", ""))),
        error=str(status.get("Err", ""))[:300],
        exit_code=int(code) if code is not None and status.get("State") in ("complete", "failed", "shutdown", "rejected") else None,
        since=str(status.get("Timestamp", "")),
    )


def _limits(*, cpus: float, memory_bytes: int, pids: int) -> dict[str, int]:
    made = {"Pids": pids}
    if cpus:
        made["NanoCPUs"] = max(10_000_000, int(cpus * NANO))
    if memory_bytes:
        made["MemoryBytes"] = max(MIN_MEMORY, memory_bytes)
    return made


def build(wish: SwarmCreate, *, instance: str, operation_id: str, defaults: LimitDefaults) -> dict[str, Any]:
    """Body for `POST /services/create`."""
    return {
        "Name": wish.name,
        "Labels": {LABEL_MANAGED: "1", LABEL_INSTANCE: instance, LABEL_OPERATION: operation_id},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": wish.image,
                "Env": [f"{key}={value}" for key, value in wish.env.items()],
                **({"Args": list(wish.command)} if wish.command else {}),
                "CapabilityDrop": [f"CAP_{name}" for name in CAP_DROP],
                # Engines before 25 don't know it and leave it out.
                "Privileges": {"NoNewPrivileges": True},
            },
            "Resources": {"Limits": _limits(cpus=wish.cpus, memory_bytes=wish.memory_bytes, pids=defaults.pids)},
            # On any end, as a container that is to run: what stops by itself is started again, at most each 5 s.
            "RestartPolicy": {"Condition": "any", "Delay": 5 * NANO},
            "LogDriver": {"Name": "json-file", "Options": {"max-size": str(defaults.log_max_bytes), "max-file": str(defaults.log_files)}},
        },
        "Mode": {"Global": {}} if wish.mode == "global" else {"Replicated": {"Replicas": wish.replicas}},
        "UpdateConfig": {"Parallelism": 1, "FailureAction": "rollback", "Order": "stop-first", "Monitor": 5 * NANO},
        "RollbackConfig": {"Parallelism": 1, "FailureAction": "pause", "Order": "stop-first", "Monitor": 5 * NANO},
        "EndpointSpec": _endpoint(wish.ports),
    }


def _endpoint(ports: list[SwarmPort]) -> dict[str, Any]:
    return {
        "Mode": "vip" if any(port.mode == "ingress" for port in ports) else "dnsrr",
        "Ports": [
            {"Protocol": port.protocol, "TargetPort": port.container_port, "PublishedPort": port.published_port, "PublishMode": port.mode}
            for port in ports
        ],
    }


def _env(before: list[str], wished: dict[str, str | None]) -> list[str]:
    """What is set stays in its place, what is new comes last."""
    kept = []
    new = {name: value for name, value in wished.items() if value is not None}
    for pair in before:
        name = pair.partition("=")[0]
        if name not in wished:
            kept.append(pair)
        elif name in new:
            kept.append(f"{name}={new.pop(name)}")
    return [*kept, *(f"{name}={value}" for name, value in new.items())]


def changed(spec: dict[str, Any], wish: SwarmUpdate) -> dict[str, Any]:
    """The service's own spec with what is wished; all else stays as it is. Raises `invalid_spec`."""
    made: dict[str, Any] = copy.deepcopy(spec)
    template = made.setdefault("TaskTemplate", {})
    if wish.replicas is not None:
        if "Replicated" not in (made.get("Mode") or {}):
            raise RuntimeFailure("invalid_spec", "This service runs once on each node: it has no count of replicas.")
        made["Mode"]["Replicated"] = {"Replicas": wish.replicas}
    if wish.image is not None:
        template.setdefault("ContainerSpec", {})["Image"] = wish.image
    if wish.env is not None:
        holds = template.setdefault("ContainerSpec", {})
        holds["Env"] = _env([str(pair) for pair in holds.get("Env") or ()], wish.env)
    if wish.ports is not None:
        made["EndpointSpec"] = _endpoint(wish.ports)
    if wish.cpus is not None or wish.memory_bytes is not None:
        limits = template.setdefault("Resources", {}).setdefault("Limits", {})
        for name, value, unit in (("NanoCPUs", wish.cpus, NANO), ("MemoryBytes", wish.memory_bytes, 1)):
            if value is not None:
                limits.pop(name, None)
                if value:
                    limits[name] = max(10_000_000 if unit == NANO else MIN_MEMORY, int(value * unit))
    return made
