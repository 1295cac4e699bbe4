"""The object `lormas` of an egg file: what only our own eggs say. Anything of another shape is ignored, never trusted."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from eggs.definition import DefaultLimits, EggPort, Health, Privilege
from eggs.problems import Warnings

_PATH: Final = re.compile(r"/[\w.@+-]+(?:/[\w.@+-]+)*/?\Z", re.ASCII)
_DEVICE: Final = re.compile(r"/dev/[\w./-]{1,200}\Z", re.ASCII)
_CAPABILITY: Final = re.compile(r"[A-Z_]{2,40}\Z")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?\Z")
MAX_WORDS: Final = 256


def is_image_egg(found: Any) -> bool:
    """Does it start as its image does?"""
    return isinstance(found, dict) and found.get("runs") == "image"


def extension_of(found: Any, warnings: Warnings) -> dict[str, Any]:
    """Fields of `EggDefinition`."""
    if not isinstance(found, dict):
        return {}
    image = is_image_egg(found)
    made: dict[str, Any] = {
        "category": _text(found.get("category")).strip()[:64],
        "notes": _text(found.get("notes"))[:8192],
        "process_command": _argv(found.get("process_command")),
        "entrypoint": _argv(found.get("entrypoint")) if image else [],
        "command": _argv(found.get("command")) if image else [],
        "runs": "image" if image else "startup",
        "tty": found.get("tty") is True,
        "tmpfs": [path for path in _argv(found.get("tmpfs"))[:16] if is_path(path)],
        "ports": [port for port in map(_port, _items(found.get("ports"))) if port is not None][:64],
        "privileges": [wish for wish in map(privilege_of, _items(found.get("privileges"))) if wish is not None][:64],
    }
    if found.get("startup_mode") in ("shell", "entrypoint"):
        made["startup_mode"] = found["startup_mode"]
    target = found.get("data_target")
    if isinstance(target, str) and (is_path(target) or (image and target == "")):
        made["data_target"] = target
    if is_path(found.get("working_dir")):
        made["working_dir"] = found["working_dir"]
    if isinstance(found.get("user"), str) and _USER.match(found["user"]):
        made["user"] = found["user"]
    grace = found.get("grace_seconds")
    if isinstance(grace, int | float) and not isinstance(grace, bool) and 0 < grace <= 3600:
        made["grace_seconds"] = float(grace)
    for name, kind in (("health", Health), ("limits", DefaultLimits)):
        try:
            value = msgspec.convert(found.get(name), kind)
        except msgspec.ValidationError:
            continue
        made[name] = value
    return made


def is_path(value: Any) -> bool:
    """An absolute path inside of a container, without `..`."""
    return isinstance(value, str) and len(value) <= 1024 and _PATH.match(value) is not None and ".." not in value.split("/")


def privilege_of(found: Any) -> Privilege | None:
    """A well-formed privilege, or None."""
    kind = found.get("kind") if isinstance(found, dict) else None
    value = _text(found.get("value")) if isinstance(found, dict) else ""
    if kind in ("privileged", "host_network", "administrator_only"):
        return Privilege(kind=kind)
    if kind == "device" and _DEVICE.match(value) and ".." not in value:
        return Privilege(kind="device", value=value)
    if kind == "capability" and _CAPABILITY.match(value):
        return Privilege(kind="capability", value=value)
    if kind == "bind":
        source, _, rest = value.partition(":")
        target, _, mode = rest.partition(":")
        if (is_path(source) or source == "/") and is_path(target) and mode in ("", "ro"):
            return Privilege(kind="bind", value=value)
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _argv(value: Any) -> list[str]:
    items = _items(value)
    return items[:MAX_WORDS] if all(isinstance(word, str) for word in items) else []


def _port(found: Any) -> EggPort | None:
    if not isinstance(found, dict):
        return None
    number, protocol = found.get("container", 0), found.get("protocol", "tcp")
    good = isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 65535 and protocol in ("tcp", "udp")
    return EggPort(container=number, protocol=protocol) if good else None
