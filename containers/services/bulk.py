"""One act on many containers: each is asked for its right and its state on its own, and each result is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.denials import note_denied
from audit.services import Actor, Target
from containers import access
from containers.services.power import CAPABILITY, act
from containers.services.remove import delete_container, restore_container
from lormas.common.errors import Forbidden, NotFound, Problem
from nodes.models import Operation

ACTIONS: dict[str, str] = {**CAPABILITY, "delete": "containers.delete", "restore": "containers.delete", "purge": "containers.delete"}
"""Action -> the right it needs on each. `delete`: to the trash; `restore`: out of it; `purge`: for good, with all data."""
MOST = 200


@dataclass(frozen=True, slots=True)
class Result:
    """How it went with one. `code` empty: it was taken on, and `operation` (if any) tells the end."""

    id: UUID
    name: str = ""
    operation: Operation | None = None
    code: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool:
        return not self.code


def act_on_many(ids: Sequence[UUID], action: str, *, user: Any, actor: Actor) -> list[Result]:
    """Each once, in the order given; what is refused stops none of the others. Each has its own transaction, operation and journal row."""
    return [_one(key, action, user=user, actor=actor) for key in dict.fromkeys(ids)]


def _one(key: UUID, action: str, *, user: Any, actor: Actor) -> Result:
    name, operation = "", None
    try:
        container = access.get_container(user, key, trash=action in ("restore", "purge"))
        name = container.name
        container = access.get_container(user, key, ACTIONS[action], trash=action in ("restore", "purge"))
        if action == "restore":
            restore_container(container, actor=actor)
        elif action in ("delete", "purge"):
            operation = delete_container(container, user=user, actor=actor, force=action == "purge")
        else:
            operation = act(container, action, user=user, actor=actor)
    except Problem as problem:
        if isinstance(problem, Forbidden | NotFound):
            note_denied("containers.denied", actor=actor, target=Target("container", str(key), name), message=f"{action}: {problem.detail}")
        return Result(key, name, code=problem.code, detail=problem.detail)
    return Result(key, name, operation=operation)
