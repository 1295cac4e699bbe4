"""A container's startup script, run when somebody asks for it."""

from __future__ import annotations

from typing import Any

from agent.protocol.commands import ExecRun
from audit.services import Actor, record
from containers import logs
from containers.models import Container
from containers.services.manners import settings_of
from containers.services.publish import target
from lormas.common.errors import FieldError, Invalid

JOURNAL_TEXT = 2000


def run_now(container: Container, *, script: str | None, timeout_seconds: int, actor: Actor) -> dict[str, Any]:
    """Run a script (None: the stored one) by the container's own shell, to its end; the answer is that of `exec.run`.

    Raises:
        Invalid `no_script`: there is none. What `containers.logs.ask` raises.
    """
    text = settings_of(container).startup_script if script is None else script
    if not text.strip():
        raise Invalid(
            "There is no startup script to run: write one first.",
            code="no_script",
            errors=[FieldError("script", "Give a script, or store one under settings.", "required")],
        )
    record("containers.script", actor=actor, target=target(container), after={"script": text[:JOURNAL_TEXT]})
    asked = ExecRun(argv=["/bin/sh", "-c", text], timeout_seconds=timeout_seconds)
    return logs.ask(container, "exec.run", asked, timeout_seconds=timeout_seconds + 5)
