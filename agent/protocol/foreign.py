"""Containers of the engine that are nobody's here: what they are, and taking one over. Part of `agent.protocol.commands`."""

from __future__ import annotations

from typing import Any

from agent.protocol.messages import ContainerSpec, StopSpec
from agent.protocol.parts import Limits, Mount, Part, PortBinding


class ForeignList(Part, frozen=True):
    """`foreign.list` -> {"containers": [ForeignSummary], "allowed": bool, "reason": str}: `allowed` False says why none may be taken over."""


class ForeignSummary(Part, frozen=True):
    """One of the list."""

    ref: str
    name: str
    image: str = ""
    state: str = ""
    created_at: str = ""
    ports: list[PortBinding] = []


class ForeignLook(Part, frozen=True):
    """`foreign.look` -> {"found": Foreign}. Errors `policy_denied`, `not_found`."""

    ref: str


class Foreign(Part, frozen=True):
    """What can be said of it in our words, and what can't.

    `lost`, `blocking`: [code, sentence] each. What is lost is told before; what blocks can't be taken over at all. Environment, command and
    labels are those that its image does not bring.
    """

    ref: str
    name: str
    image: str
    running: bool
    command: list[str] = []
    entrypoint: list[str] | None = None
    env: dict[str, str] = {}
    labels: dict[str, str] = {}
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    limits: Limits = Limits(pids=0)
    ports: list[PortBinding] = []
    mounts: list[Mount] = []
    restart: dict[str, Any] = {}
    """As the engine has it: {"Name", "MaximumRetryCount"}."""
    lost: list[tuple[str, str]] = []
    blocking: list[tuple[str, str]] = []


class AdoptPayload(Part, frozen=True):
    """`container.adopt`: stop the foreign container, keep it under another name, and make ours in its place with its volumes.

    If ours can't be made or started everything is put back: the old one has its name and its restart policy again, and runs if it ran.
    Data as `container.create`.
    """

    ref: str
    spec: ContainerSpec
    start: bool
    stop: StopSpec = StopSpec()
    restart: dict[str, Any] = {}


FOREIGN_RPCS: dict[str, type[Part]] = {"foreign.list": ForeignList, "foreign.look": ForeignLook}
FOREIGN_COMMANDS: dict[str, type[Part]] = {"container.adopt": AdoptPayload}
