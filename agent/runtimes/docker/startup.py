"""Does an image's own entrypoint evaluate `STARTUP`? Told by what the image says of itself; an egg can overrule it (`ContainerSpec.shell_when`)."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.protocol.messages import ContainerSpec

HOME = "/home/container"


def evaluates(config: dict[str, Any]) -> bool:
    """`config` is `Config` of an image's inspection.

    The convention of images made for eggs: they live in /home/container and start a script that turns the line in `STARTUP` into a command.
    Both must be there: a home alone says nothing, and a script alone is what half of all images start with.
    """
    env = dict(str(entry).partition("=")[::2] for entry in config.get("Env") or [])
    at_home = HOME in (str(config.get("WorkingDir") or "").rstrip("/"), env.get("HOME", "").rstrip("/"))
    words = [str(word) for word in [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]]
    return at_home and any(word.rpartition("/")[2].endswith(("entrypoint.sh", "entrypoint", "start.sh")) for word in words)


def choose(spec: ContainerSpec, config: dict[str, Any]) -> ContainerSpec:
    """The spec with the image's own entrypoint and a terminal, as such images expect, or with the shell."""
    if not spec.shell:
        return spec
    own = evaluates(config) if spec.shell_when == "auto" else spec.shell_when == "never"
    if own:
        return msgspec.structs.replace(spec, entrypoint=None, command=[], tty=True)
    return msgspec.structs.replace(spec, entrypoint=spec.shell[:1], command=spec.shell[1:])
