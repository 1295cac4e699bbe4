"""What the engine's complaints mean, in our codes and in plain words."""

from __future__ import annotations

import re

from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker.wire import EngineStatus

_RULES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code, words)
    for pattern, code, words in (
        (r"no space left on device|disk quota exceeded", "disk_full", "No space is left on the node"),
        (r"port is already allocated|address already in use|ports are not available", "port_taken",
         "A port that the container needs is in use on the node"),
        (r"container name .* is already in use", "name_taken", "The engine has a foreign container of this name"),
        (r"no such image|manifest unknown|manifest for .* not found|pull access denied|repository does not exist|requested access to the resource is",
         "no_such_image", "The image does not exist, or the registry does not let us have it"),
        (r"no such container", "no_such_container", "The container is not on this node"),
        (r"is not running|is not paused|no such exec", "not_running", "The container does not run"),
        (r"is paused", "not_running", "The container is paused"),
        (r"executable file not found|no such file or directory.*unknown|exec format error|permission denied: unknown|OCI runtime|shim task|runc",
         "start_failed", "The container's command could not be started"),
    )
)  # fmt: skip


def _clip(message: str) -> str:
    text = " ".join(message.split())
    return text if len(text) <= 500 else text[:497] + "..."


def translate(status: int, message: str, *, verb: str) -> RuntimeFailure:
    """The engine's status and message as a failure of `verb` (create, start, pull, ...)."""
    for pattern, code, words in _RULES:
        if pattern.search(message):
            if code == "start_failed" and verb not in ("start", "exec"):
                continue
            return RuntimeFailure(code, f"{words}: {_clip(message)}", retryable=code in ("port_taken", "disk_full"))
    if status == 404:
        code = "no_such_image" if verb in ("pull", "create") else "no_such_container"
        return RuntimeFailure(code, f"Not found: {_clip(message)}")
    if verb == "pull":
        return RuntimeFailure("pull_failed", f"The image could not be pulled: {_clip(message)}", retryable=True)
    if verb in ("create", "update") and status in (400, 500):
        return RuntimeFailure("invalid_spec", f"The engine refuses the settings: {_clip(message)}")
    if verb == "start":
        return RuntimeFailure("start_failed", f"The container was created but could not be started: {_clip(message)}")
    return RuntimeFailure("engine_error", f"The engine answered with an error ({status}): {_clip(message)}", retryable=status >= 500)


def of(error: EngineStatus, *, verb: str) -> RuntimeFailure:
    return translate(error.status, error.message, verb=verb)
