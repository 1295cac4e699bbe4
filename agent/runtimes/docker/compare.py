"""What a container of the engine is, beside what its spec makes: engine options on both sides (pure)."""

from __future__ import annotations

from typing import Any

from agent.runtimes.base import LABEL_PREFIX, Difference

LIMITS = ("Memory", "MemorySwap", "NanoCpus", "PidsLimit", "BlkioWeight")


def limits_body(options: dict[str, Any]) -> dict[str, Any]:
    """Body for `POST /containers/{id}/update`, from the options of a create. Memory and its swap go together, or the engine refuses."""
    host = options["HostConfig"]
    return {name: host[name] for name in LIMITS if name in host}


def _cpus(host: dict[str, Any]) -> float:
    nano = int(host.get("NanoCpus") or 0)
    if nano:
        return round(nano / 1e9, 3)
    period = int(host.get("CpuPeriod") or 0) or 100_000
    return round(max(0, int(host.get("CpuQuota") or 0)) / period, 3)


def _limits(host: dict[str, Any]) -> dict[str, Any]:
    memory, swap = int(host.get("Memory") or 0), int(host.get("MemorySwap") or 0)
    return {
        "cpus": _cpus(host),
        "memory_bytes": memory,
        "swap_bytes": max(0, swap - memory) if swap > 0 else 0,
        "io_weight": int(host.get("BlkioWeight") or 0),
        "pids": int(host.get("PidsLimit") or 0),
    }


def _ports(host: dict[str, Any]) -> list[str]:
    return sorted(
        f"{binding.get('HostPort')}:{number.partition('/')[0]}/{number.partition('/')[2] or 'tcp'}"
        for number, bindings in (host.get("PortBindings") or {}).items()
        for binding in bindings or []
    )


def _env(pairs: list[str] | None) -> dict[str, str]:
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs or [])}


def _labels(labels: dict[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (labels or {}).items() if not name.startswith(LABEL_PREFIX)}


def differences(options: dict[str, Any], item: dict[str, Any], *, image_config: dict[str, Any]) -> list[Difference]:
    """`options`: body of the create that would be sent now; `item`: the engine's inspection; `image_config`: what the image itself sets."""
    config, host, wanted_host = item.get("Config") or {}, item.get("HostConfig") or {}, options["HostConfig"]
    found: list[Difference] = []

    def put(field: str, wanted: object, running: object) -> None:
        if wanted != running:
            found.append(Difference(field, wanted, running))

    put("image", options["Image"], str(config.get("Image", "")))
    if "Cmd" in options:
        put("command", list(options["Cmd"]), list(config.get("Cmd") or []))
    elif image_config:
        put("command", list(image_config.get("Cmd") or []), list(config.get("Cmd") or []))
    running_limits, told = _limits(host), _limits(wanted_host)
    for name, value in told.items():
        if (name == "swap_bytes" and "MemorySwap" not in wanted_host) or (name == "io_weight" and "BlkioWeight" not in wanted_host):
            continue
        put(name, value, running_limits[name])
    if wanted_host["NetworkMode"] != "host":
        put("ports", _ports(wanted_host), _ports(host))
    of_image = _env(image_config.get("Env"))
    wanted_env, running_env = _env(options.get("Env")), _env(config.get("Env"))
    for name in sorted({*wanted_env, *running_env}):
        wanted = wanted_env.get(name, of_image.get(name))
        if image_config or name in wanted_env:
            put(f"env.{name}", wanted, running_env.get(name))
    wanted_labels, running_labels, image_labels = _labels(options.get("Labels")), _labels(config.get("Labels")), _labels(image_config.get("Labels"))
    for name in sorted({*wanted_labels, *running_labels}):
        put(f"labels.{name}", wanted_labels.get(name, image_labels.get(name)), running_labels.get(name))
    return found
