"""Compose files: each service that names an image becomes an egg; what can't be kept is a warning (issue 4)."""

from __future__ import annotations

import re
import uuid
from typing import Any, Final

from eggs.definition import MAX_VARIABLES, DefaultLimits, EggDefinition, Health, Privilege, Variable
from eggs.formats import plain
from eggs.formats.collections import MAX_EGGS, Contents, Found, Skipped
from eggs.formats.extension import is_path
from eggs.formats.inheriting import Family
from eggs.formats.interpolation import Asked
from eggs.problems import EggRefused, Warnings

_NAMESPACE: Final = uuid.UUID("6f0f2f43-7f0e-4c61-9a5e-0d3b8f1c2a11")
_TAKEN: Final = frozenset(
    (
        "image", "command", "entrypoint", "environment", "ports", "expose", "volumes", "tmpfs", "healthcheck", "deploy", "mem_limit", "cpus",
        "pids_limit",
        "privileged", "network_mode", "devices", "cap_add", "user", "working_dir", "tty", "stdin_open", "stop_signal", "stop_grace_period",
        "container_name", "labels", "build", "volumes_from", "pid", "ipc", "uts", "userns_mode", "cgroup", "cgroup_parent", "extends", "env_file",
    )
)  # fmt: skip
_FLAT: Final = frozenset(("mem_limit", "cpus", "pids_limit", "network_mode", "user", "working_dir", "stop_signal", "stop_grace_period", "restart"))
_BYTES: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*\Z", re.IGNORECASE)
_SECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIGNAL: Final = re.compile(r"(?:SIG)?(INT|TERM|ABRT|KILL|QUIT|HUP|USR1|USR2|WINCH)\Z", re.IGNORECASE)


def contents(raw: dict[str, Any]) -> Contents:
    """All services of a file."""
    project = plain.text_of(raw.get("name")).strip()
    found, family = Contents(), Family(raw["services"])
    for name, service in list(raw["services"].items())[:MAX_EGGS]:
        try:
            warnings = Warnings()
            definition = egg_of(str(name).strip(), family.whole(service), project=project, warnings=warnings)
        except EggRefused as refused:
            found.skipped.append(Skipped(str(name)[:191], refused.code, refused.detail))
        else:
            if raw.get("include"):
                warnings.add("W_INCLUDE", "include is left out: the files that it names are not fetched.")
            found.eggs.append(Found(definition, "COMPOSE", warnings.all()))
    return found


def egg_of(name: str, service: Any, *, project: str, warnings: Warnings) -> EggDefinition:
    """One service. Raises EggRefused."""
    if not isinstance(service, dict):
        raise EggRefused("E_NOT_MAPPING", "It is no object.")
    if not name.strip():
        raise EggRefused("E_NAME", "It has no name.")
    if "build" in service and not service.get("image"):
        raise EggRefused("E_NEEDS_BUILD", "Its image is built from source: build and push it, then name it by `image`.")
    asked = Asked(warnings)
    service = {key: asked.flat(value) if key in _FLAT else value for key, value in service.items()}
    image = plain.image_of(asked.flat(service.get("image")))
    folders = plain.Folders(warnings)
    tmpfs = _volumes(service, folders, warnings, asked)
    privileges = [*folders.privileges, *_privileges(service, warnings)]
    variables = _environment(service.get("environment"), warnings, asked)
    entrypoint, command = ([asked.words(word) for word in plain.words_of(service.get(key))] for key in ("entrypoint", "command"))
    ports = _ports(service, warnings, asked)
    _leftovers(service, warnings)
    whole = name if not project or project == name else f"{project} {name}"
    grace = _seconds(service.get("stop_grace_period"))
    return EggDefinition(
        name=whole[:191],
        description=f"Service {name} of the Compose file{' ' + project if project else ''}."[:1024],
        uuid=str(uuid.uuid5(_NAMESPACE, f"{project}\n{name}")) if project else "",
        tags=["compose"],
        category="Compose",
        docker_images=[(image, image)],
        variables=[*variables, *asked.variables({variable.env_variable for variable in variables})],
        stop=_stop(service.get("stop_signal"), warnings),
        grace_seconds=min(3600.0, grace) if grace else 10.0,
        runs="image",
        entrypoint=entrypoint,
        command=command,
        working_dir=service["working_dir"] if is_path(service.get("working_dir")) else "",
        user=_user(service.get("user"), warnings),
        tty=service.get("tty") is True,
        tmpfs=tmpfs,
        health=_health(service.get("healthcheck"), warnings, asked),
        limits=_limits(service, asked),
        data_target=folders.data_target,
        ports=ports,
        privileges=privileges,
    )


def _environment(found: Any, warnings: Warnings, asked: Asked) -> list[Variable]:
    if isinstance(found, list):
        pairs = [(name, value if equals else None) for name, equals, value in (plain.text_of(item).partition("=") for item in found)]
    elif isinstance(found, dict):
        pairs = [(str(name), None if value is None else plain.text_of(value)) for name, value in found.items()]
    else:
        pairs = []
    if len(pairs) > MAX_VARIABLES:
        raise EggRefused("E_VARIABLES", f"An egg has {MAX_VARIABLES} variables at most.")
    made = []
    for name, value in pairs:
        if not plain.ENV_NAME.match(name):
            warnings.add("W_ENV", f"The variable {name[:40]!r} is not understood and left out.")
            continue
        default, required, alias = asked.value(value or "")
        label = f"{name} ({alias})" if alias and alias != name else name
        made.append(plain.variable(name, default=default, label=label, rules=["required" if required else "nullable", "string"]))
    return made


def _volumes(service: dict[str, Any], folders: plain.Folders, warnings: Warnings, asked: Asked) -> list[str]:
    tmpfs = [text.partition(":")[0] for item in _list(service.get("tmpfs"))[: plain.MAX_ITEMS] if (text := plain.text_of(item))]
    for item in _list(service.get("volumes"))[: plain.MAX_ITEMS]:
        if isinstance(item, dict):
            kind, source, target = (plain.text_of(asked.flat(item.get(key))) for key in ("type", "source", "target"))
            read_only = item.get("read_only") is True
        else:
            parts = plain.text_of(asked.flat(item)).split(":")
            source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
            kind, read_only = "", "ro" in (parts[2].split(",") if len(parts) > 2 else [])
        if kind == "tmpfs":
            tmpfs.append(target)
        elif source.startswith("/"):
            folders.of_machine(source, target, read_only=read_only)
        else:
            if source.startswith((".", "~")):
                warnings.add("W_FILES", f"{source[:60]} beside the file is not taken along: {target[:60]} begins empty.")
            folders.own(target)
    return [path for path in tmpfs if is_path(path)][:16]


def _privileges(service: dict[str, Any], warnings: Warnings) -> list[Privilege]:
    found: list[Privilege] = []
    if service.get("privileged") is True:
        found += plain.privileged(warnings, "privileged", "", "privileged mode (all rights on the machine)")
    mode = plain.text_of(service.get("network_mode"))
    if mode == "host":
        found += plain.privileged(warnings, "host_network", "", "the machine's own network")
    elif mode not in ("", "bridge", "default"):
        warnings.add("W_NETWORK", f"network_mode {mode[:40]!r} is left out: containers get the panel's own network.")
    for device in _list(service.get("devices"))[: plain.MAX_ITEMS]:
        path = plain.text_of(device).partition(":")[0]
        found += plain.privileged(warnings, "device", path, f"the device {path[:60]}")
    for name in _list(service.get("cap_add"))[: plain.MAX_ITEMS]:
        capability = plain.text_of(name).upper().removeprefix("CAP_")
        found += plain.privileged(warnings, "capability", capability, f"the capability {capability[:40]}")
    shared = [key for key in ("pid", "ipc", "uts", "userns_mode", "cgroup", "cgroup_parent", "volumes_from") if service.get(key)]
    if shared:
        warnings.add("W_NAMESPACE", f"Not kept, for it would join what keeps containers apart: {', '.join(shared)}.")
    return found


def _leftovers(service: dict[str, Any], warnings: Warnings) -> None:
    others = [str(key)[:32] for key in service if key not in _TAKEN and not str(key).startswith("x-")]
    if plain.text_of(service.get("restart")) in ("no", "false", ""):
        others = [key for key in others if key != "restart"]
    inner: Any = service
    for place, known in (("deploy", {"resources"}), ("deploy.resources", {"limits"}), ("deploy.resources.limits", {"cpus", "memory", "pids"})):
        inner = inner.get(place.rpartition(".")[2])
        if not isinstance(inner, dict):
            break
        others += [f"{place}.{str(key)[:32]}" for key in inner if key not in known and not str(key).startswith("x-")]
    others.sort()
    if others:
        warnings.add("W_IGNORED", f"Not kept: {', '.join(others[:12])}.")
    if service.get("labels"):
        warnings.add("W_LABELS", "Labels are left out: give them to the container.")
    if service.get("env_file"):
        warnings.add("W_ENV_FILE", "env_file is not read: write its variables under environment.")
    if service.get("build"):
        warnings.add("W_BUILD", "build is left out: the image is pulled.")


def _ports(service: dict[str, Any], warnings: Warnings, asked: Asked) -> list[Any]:
    ports: list[Any] = []
    for item in _list(service.get("ports"))[: plain.MAX_ITEMS]:
        flat = {key: asked.flat(value) for key, value in item.items()} if isinstance(item, dict) else asked.flat(item)
        ports += [port for port in plain.port_of(flat, warnings) if port not in ports]
    return ports[: plain.MAX_PORTS]


def _health(found: Any, warnings: Warnings, asked: Asked) -> Health | None:
    if not isinstance(found, dict):
        return None
    if found.get("disable") is True:  # the image's own as well
        return Health(test=["NONE"])
    found = {key: asked.deep(value) for key, value in found.items()}
    test = found.get("test")
    if isinstance(test, str) and test.strip():
        argv = ["CMD-SHELL", test]
    elif isinstance(test, list) and test and all(isinstance(word, str) for word in test) and test[0] in ("CMD", "CMD-SHELL", "NONE"):
        argv = test
    else:
        warnings.add("W_HEALTHCHECK", "The healthcheck is not understood and left out.")
        return None
    retries = found.get("retries")
    return Health(
        test=argv[:64],
        interval_seconds=_seconds(found.get("interval")) or 30,
        timeout_seconds=_seconds(found.get("timeout")) or 30,
        retries=retries if isinstance(retries, int) and not isinstance(retries, bool) and 0 < retries <= 1000 else 3,
        start_seconds=_seconds(found.get("start_period")),
    )


def _limits(service: dict[str, Any], asked: Asked) -> DefaultLimits:
    deploy = service.get("deploy")
    resources = deploy.get("resources") if isinstance(deploy, dict) else None
    limits = resources.get("limits") if isinstance(resources, dict) else None
    limits = asked.deep(limits) if isinstance(limits, dict) else {}
    pids = plain.text_of(limits.get("pids", service.get("pids_limit")))
    return DefaultLimits(
        cpus=_number(limits.get("cpus", service.get("cpus"))),
        memory_bytes=_size(limits.get("memory", service.get("mem_limit"))),
        pids=int(pids) if pids.isascii() and pids.isdigit() and len(pids) < 6 and int(pids) <= 65536 else 0,
    )


def _number(value: Any) -> float:
    try:
        number = float(plain.text_of(value) or 0)
    except ValueError:
        return 0
    return number if 0 < number <= 1024 else 0


def _size(value: Any) -> int:
    match = _BYTES.match(plain.text_of(value)[:32])
    if match is None:
        return 0
    size = int(float(match[1]) * _SIZES[match[2].lower()])
    return size if 6 * 1024**2 <= size <= 2**50 else 0


def _seconds(value: Any) -> float:
    """`1m30s`; 0 = not said."""
    text = plain.text_of(value)[:32]
    if text.isdigit():
        return min(float(text), 86_400)
    parts = _SECONDS.findall(text)
    return min(sum(float(number) * _UNITS[unit] for number, unit in parts), 86_400)


def _stop(value: Any, warnings: Warnings) -> str:
    match = _SIGNAL.match(plain.text_of(value).strip())
    if match is None:
        return ""
    name = match[1].upper()
    if name not in ("INT", "TERM", "ABRT", "KILL"):
        warnings.add("W_STOP_SIGNAL", f"SIG{name} is not kept: it is stopped by SIGTERM.")
        return ""
    return f"^SIG{name}"


def _user(value: Any, warnings: Warnings) -> str:
    text = plain.text_of(value)
    if not text:
        return ""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?", text):
        return text
    warnings.add("W_USER", "user is not understood and left out.")
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None or isinstance(value, dict) else [value]
