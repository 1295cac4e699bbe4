"""Engine answers -> `ContainerReport`, from a listing (summary) or an inspect (full)."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from agent.protocol.messages import ContainerReport, ObservedState, PortBinding
from agent.runtimes.base import LABEL_CONTAINER, LABEL_EPOCH, LABEL_OPERATION

_STATES: dict[str, ObservedState] = {
    "created": "created",
    "running": "running",
    "paused": "paused",
    "restarting": "restarting",
    "exited": "exited",
    # `removing` and `dead` are what a removal leaves while, or when, the engine can't finish it: the process is over.
    "removing": "exited",
    "dead": "exited",
}
_EXITED = re.compile(r"^(?:Exited|Dead) \((-?\d+)\)")
_HEALTH = re.compile(r"\((health: starting|healthy|unhealthy)\)")
HEALTH_CHARS = 200
Health = Literal["", "starting", "healthy", "unhealthy"]


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0


def sortable_time(text: str) -> str:
    """RFC 3339 UTC as the engine writes it (up to nine decimals, trailing zeros cut) in a form that sorts as text."""
    whole, _, decimals = text.removesuffix("Z").partition(".")
    return f"{whole}.{decimals:0<9}"


def from_summary(item: dict[str, Any]) -> ContainerReport:
    """From one entry of `GET /containers/json`: no times and no OOM flag there."""
    labels = item.get("Labels") or {}
    state = _STATES.get(str(item.get("State", "")).lower(), "unknown")
    status = str(item.get("Status", ""))
    exited = _EXITED.match(status)
    found = _HEALTH.search(status)
    health = found.group(1).removeprefix("health: ") if found else ""
    return ContainerReport(
        container_id=labels[LABEL_CONTAINER],
        state=state,
        epoch=_number(labels.get(LABEL_EPOCH)),
        runtime_ref=str(item["Id"]),
        exit_code=int(exited.group(1)) if exited and state == "exited" else None,
        health=cast(Health, health),
        operation_id=labels.get(LABEL_OPERATION, ""),
        image=str(item.get("Image", "")),
        ports=[
            PortBinding(
                container_port=int(port["PrivatePort"]),
                host_port=int(port["PublicPort"]),
                protocol="udp" if port.get("Type") == "udp" else "tcp",
                host_ip=str(port.get("IP") or "0.0.0.0"),  # noqa: S104 - what the engine says
            )
            for port in item.get("Ports") or []
            if port.get("PublicPort")
        ],
    )


def _time(text: object) -> str:
    value = str(text or "")
    return "" if value.startswith("0001-") else value


def _complaint(checks: list[dict[str, Any]]) -> str:
    """The last check's words in one line, if it failed."""
    last = checks[-1] if checks else {}
    return " ".join(str(last.get("Output") or "").split())[:HEALTH_CHARS] if last.get("ExitCode") else ""


def from_inspect(item: dict[str, Any]) -> ContainerReport:
    """From `GET /containers/{id}/json`."""
    config = item.get("Config") or {}
    labels = config.get("Labels") or {}
    state = item.get("State") or {}
    observed = _STATES.get(str(state.get("Status", "")).lower(), "unknown")
    checked = state.get("Health") or {}
    health = str(checked.get("Status", ""))
    ports: list[PortBinding] = []
    for key, bindings in ((item.get("HostConfig") or {}).get("PortBindings") or {}).items():
        number, _, protocol = key.partition("/")
        ports += [
            PortBinding(
                container_port=int(number),
                host_port=_number(one.get("HostPort")),
                protocol="udp" if protocol == "udp" else "tcp",
                host_ip=one.get("HostIp") or "0.0.0.0",  # noqa: S104 - what the engine says
            )
            for one in bindings or []
        ]
    over = observed == "exited"
    return ContainerReport(
        container_id=labels.get(LABEL_CONTAINER, ""),
        state=observed,
        epoch=_number(labels.get(LABEL_EPOCH)),
        runtime_ref=str(item.get("Id", "")),
        exit_code=int(state.get("ExitCode", 0)) if over else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or "")[:500],
        started_at=_time(state.get("StartedAt")),
        finished_at=_time(state.get("FinishedAt")) if over else "",
        health=cast(Health, health if health in ("starting", "healthy", "unhealthy") else ""),
        health_text=_complaint(checked.get("Log") or []),
        operation_id=labels.get(LABEL_OPERATION, ""),
        image=str(config.get("Image", "")),
        ports=ports,
    )
