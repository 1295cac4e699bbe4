"""The new-container form: from what was posted to the body of `POST /api/containers`, and back (pure).

The page shows that very body as a request, and the API's own serializer checks it: form and API can't disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GIB = 1024**3
MIB = 1024**2
UNITS = {"MiB": MIB, "GiB": GIB}


@dataclass(slots=True)
class Filled:
    """The form as it was filled in; also what an untouched one holds."""

    source: str = "egg"
    name: str = ""
    description: str = ""
    image: str = ""
    startup: str = ""
    command: str = ""
    env: str = ""
    cpus: str = ""
    memory: str = ""
    memory_unit: str = "MiB"
    disk: str = ""
    ports: str = ""
    node: str = ""
    restart_policy: str = "unless-stopped"
    start: bool = True
    variables: dict[str, str] = field(default_factory=dict)


def filled_from(post: Mapping[str, Any]) -> Filled:
    """What was typed, kept as it is."""
    names = ("name", "description", "image", "startup", "command", "env", "cpus", "memory", "disk", "ports", "node")
    texts = {name: str(post.get(name, "")) for name in names}
    return Filled(
        **texts,
        memory_unit=str(post.get("memory_unit", "MiB")) if post.get("memory_unit") in UNITS else "MiB",
        restart_policy=str(post.get("restart_policy") or "unless-stopped"),
        start=post.get("start") == "1",
        variables={key.removeprefix("var."): str(post.get(key, "")) for key in post if key.startswith("var.")},
    )


def _number(text: str) -> Any:
    """A number where it is one, else the text: the serializer says what is wrong with it."""
    cleaned = text.strip().replace(",", ".")
    try:
        return float(cleaned)
    except ValueError:
        return text


def payload(filled: Filled, *, egg_id: str = "", defaults: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The body of the request; only what differs from the defaults."""
    body: dict[str, Any] = {"name": filled.name.strip()}
    if filled.description.strip():
        body["description"] = filled.description.strip()
    if egg_id:
        body["egg"] = egg_id
        changed = {key: value for key, value in filled.variables.items() if value != (defaults or {}).get(key)}
        if changed:
            body["variables"] = changed
        if filled.image.strip():
            body["image"] = filled.image.strip()
        if filled.startup.strip():
            body["startup"] = filled.startup
    else:
        body["image"] = filled.image.strip()
        if filled.command.strip():
            body["command"] = filled.command.strip()
        env = [line for line in filled.env.replace("\r", "").split("\n") if line.strip()]
        if env:
            body["env"] = env
    limits = _limits(filled)
    if limits:
        body["limits"] = limits
    ports = [part.strip() for part in filled.ports.replace("\n", ",").split(",") if part.strip()]
    if ports:
        body["ports"] = [int(port) if port.isdigit() else port for port in ports]
    if filled.node:
        body["node"] = filled.node
    if filled.restart_policy != "unless-stopped":
        body["restart_policy"] = filled.restart_policy
    if not filled.start:
        body["start"] = False
    return body


def _limits(filled: Filled) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if filled.cpus.strip():
        limits["cpus"] = _number(filled.cpus)
    for name, text, factor in (("memory_bytes", filled.memory, UNITS[filled.memory_unit]), ("disk_bytes", filled.disk, GIB)):
        if text.strip():
            number = _number(text)
            limits[name] = round(number * factor) if isinstance(number, float) and abs(number) < 1e12 else text
    return limits


FIELD_OF = {
    "limits.cpus": "cpus",
    "limits.memory_bytes": "memory",
    "limits.disk_bytes": "disk",
}


def errors_by_field(flat: list[tuple[str, str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Errors of the API's paths under the form's names; the second are those that belong to no field."""
    known = {"name", "description", "image", "startup", "command", "env", "ports", "node", "restart_policy", "cpus", "memory", "disk"}
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    for path, message in flat:
        name = FIELD_OF.get(path, path.split(".")[0])
        if path.startswith("variables."):
            name = "var." + path.removeprefix("variables.").split(".")[0]
        elif name not in known:
            name = f"var.{path}" if path.isupper() else ""
        if name:
            found.setdefault(name, []).append(message)
        else:
            rest.append(message)
    return found, rest
