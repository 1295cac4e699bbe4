"""From an egg to the install script that its node runs (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from agent.protocol.parts import InstallScript
from eggs.definition import EggDefinition
from lormas.common.images import is_reference


def has_install_script(definition: EggDefinition) -> bool:
    """A script of blanks and comments alone installs nothing."""
    lines = (line.strip() for line in definition.install.script.splitlines())
    return any(line and not line.startswith("#") for line in lines)


def install_script(definition: EggDefinition, *, image: str, env: Mapping[str, str], timeout_seconds: float) -> InstallScript | None:
    """None if it has none. Without an image of its own (or with one that is no reference) the container's `image` runs it; after
    `timeout_seconds` it is killed."""
    if not has_install_script(definition):
        return None
    own = definition.install.container.strip().removeprefix("~")
    return InstallScript(
        image=own if is_reference(own) else image,
        script=definition.install.script.replace("\r\n", "\n").replace("\r", "\n"),
        entrypoint=definition.install.entrypoint or "bash",
        env=dict(env),
        timeout_seconds=timeout_seconds,
    )
