"""Upgrading agents from the panel: the wheel that new machines join with, its hash, and an operation that ends when the new agent has come back."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import transaction

from agent.protocol.nodework import Upgrade
from audit.services import Actor, record
from lormas.common.errors import Conflict, NodeUnavailable, Refused
from nodes import commands, events, operations
from nodes.joining import wheel
from nodes.models import Command, Node, Operation
from nodes.services import target_of
from nodes.states import COMMAND_OPEN, CommandState
from nodes.stock import on_settled as settle_by_command

SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Package:
    """What agents are upgraded to."""

    path: str
    version: str
    sha256: str
    size_bytes: int


@lru_cache(maxsize=4)
def _digest(file: Path, stamp: float) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def package() -> Package | None:
    """The agent's wheel of this panel; None where it has built none."""
    file = wheel()
    if file is None:
        return None
    stat = file.stat()
    named = re.match(r"^lormas-([^-]+)-", file.name)
    return Package(f"/agent/{quote(file.name)}", named.group(1) if named else settings.VERSION, _digest(file, stat.st_mtime), stat.st_size)


@transaction.atomic
def upgrade(node: Node, *, user: Any, actor: Actor) -> Operation:
    """Have a node's agent install this panel's wheel and start anew. Containers go on; an agent that does not come back well goes back by itself.

    Raises:
        NodeUnavailable. Refused `no_package`, `unsupported`. Conflict `upgrading`: one goes on.
    """
    if not node.gateway:
        raise NodeUnavailable(f"Node {node.name} is not connected: {node.status_reason or 'its agent has no socket'}")
    found = package()
    if found is None:
        raise Refused("This panel has built no agent package: see `lormas doctor`.", code="no_package")
    if "upgrade" not in node.capabilities:
        raise Refused(f"The agent {node.agent_version} can't upgrade itself: join that machine again with a new token.", code="unsupported")
    Node.objects.select_for_update().only("pk").get(pk=node.pk)
    if Command.objects.filter(node=node, kind="node.upgrade", state__in=COMMAND_OPEN).exists():
        raise Conflict(f"The agent of {node.name} is being upgraded.", code="upgrading", extra={"state": "upgrading", "allowed": []})
    operation = operations.open_operation(
        "node.upgrade",
        user=user,
        target_type="node",
        target_id=node.pk,
        target_label=node.name,
        deadline_seconds=SECONDS,
        message=f"{node.agent_version or '?'} to {found.version}",
    )
    payload = Upgrade(path=found.path, version=found.version, sha256=found.sha256, size_bytes=found.size_bytes)
    commands.enqueue(node, "node.upgrade", payload=payload, operation=operation, deadline_seconds=SECONDS)
    record("nodes.upgrade", actor=actor, target=target_of(node), before={"version": node.agent_version}, after={"version": found.version})
    return operation


def on_settled(command: Command) -> None:
    """The agent has come back with the new version, or with the old one and a reason."""
    if command.state == CommandState.DONE:
        events.note(command.node, "upgrade", f"The agent was upgraded to {command.result.get('version', '?')}.")
    else:
        events.note(command.node, "upgrade", f"The agent was not upgraded: {command.error_detail}", level="error")
    settle_by_command(command)
