"""What a container's console asks a person for (an egg's features), and doing what the person answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from agent.protocol.parts import ConfigEdit
from audit.services import Actor, record
from containers.models import Container
from containers.services import power
from containers.services.edit import update_container
from containers.services.publish import announce, target
from containers.states import allowed_actions
from eggs.definition import EggDefinition
from lormas.common.errors import Conflict, FieldError, Invalid
from lormas.common.images import is_reference
from nodes.models import Operation

KINDS = ("eula", "java_version", "pid_limit", "gsl_token", "steam_disk_space")
TOKEN_NAMES = ("STEAM_ACC", "STEAM_GSLT", "GSL_TOKEN", "GSLT", "STEAM_TOKEN", "SRCDS_GSLT")
"""How eggs call the variable of a game server login token, the most usual first."""
MOST_PIDS = 8192
STEAM_BYTES = 250 * 1024**2
"""What SteamCMD wants free for an update of its own; for one of a game it wants the game's size."""
GIB = 1024**3
MOST_GIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Room:
    """What is known of the disk. None: nothing was heard of it yet."""

    needed_bytes: int
    node_free_bytes: int | None = None
    used_bytes: int | None = None
    limit_bytes: int = 0
    """0 = it has none of its own."""

    @property
    def node_is_full(self) -> bool:
        return self.node_free_bytes is not None and self.node_free_bytes < self.needed_bytes

    @property
    def can_raise(self) -> bool:
        """Would a higher limit help?"""
        return bool(self.limit_bytes) and not self.node_is_full


@dataclass(frozen=True, slots=True)
class Prompt:
    """One open question. `choices` are (label, image) pairs, `suggestion` what to offer."""

    feature: str
    choices: list[tuple[str, str]] = field(default_factory=list)
    suggestion: str = ""
    variable: str = ""
    room: Room | None = None
    """steam_disk_space: how much is free."""
    can_answer: bool = True
    """False: the egg gives nothing to answer with (no token variable, only one image): it is only told."""


def definition_of(container: Container) -> EggDefinition | None:
    return EggDefinition.from_json(container.egg_version.definition) if container.egg_version is not None else None


def open_prompts(container: Container) -> list[Prompt]:
    """What is asked now, with what there is to choose from."""
    definition = definition_of(container)
    if definition is None:
        return []
    return [_prompt(container, definition, feature) for feature in KINDS if feature in container.prompts]


def _prompt(container: Container, definition: EggDefinition, feature: str) -> Prompt:
    if feature == "java_version":
        choices = [(label, image.removeprefix("~")) for label, image in definition.docker_images if image.removeprefix("~") != container.image]
        return Prompt(feature, choices=choices, can_answer=bool(choices))
    if feature == "pid_limit":
        return Prompt(feature, suggestion=str(min(MOST_PIDS, max(1024, 2 * container.pids))), can_answer=container.pids < MOST_PIDS)
    if feature == "gsl_token":
        variable = _token_variable(definition)
        return Prompt(feature, variable=variable, can_answer=bool(variable))
    if feature == "steam_disk_space":
        room = room_of(container)
        return Prompt(feature, room=room, suggestion=str(-(-2 * room.limit_bytes // GIB)) if room.limit_bytes else "")
    return Prompt(feature)


def room_of(container: Container) -> Room:
    """From the last samples of the container and of its node."""
    node = container.node
    used, all_of_it = (node.usage.get("storage_used_bytes"), node.total_storage_bytes) if node is not None else (None, 0)
    return Room(
        needed_bytes=STEAM_BYTES,
        node_free_bytes=max(0, all_of_it - used) if used and all_of_it else None,
        used_bytes=container.stats.get("disk_bytes") or None,
        limit_bytes=container.disk_bytes,
    )


def _token_variable(definition: EggDefinition) -> str:
    for name in TOKEN_NAMES:
        variable = definition.variable(name)
        if variable is not None:
            return variable.env_variable
    return ""


def answer(container: Container, feature: str, *, value: str = "", user: Any, actor: Actor) -> Operation:
    """Do what the prompt promises, and start (or restart) the container; the operation is that start.

    eula: writes `eula=true` to eula.txt. java_version: `value` is another image of its egg. pid_limit: `value` is the new limit. gsl_token:
    `value` is the token. steam_disk_space: `value` is a new disk limit in GiB; without one it is only started again.

    Raises:
        Conflict `no_such_prompt`: it does not ask for this now. Invalid: the value. What `power.act` raises; nothing is changed then.
    """
    definition = definition_of(container)
    if feature not in container.prompts or definition is None:
        raise Conflict("It does not ask for this now.", code="no_such_prompt")
    prompt = _prompt(container, definition, feature)
    if not prompt.can_answer:
        raise Conflict("Its egg has nothing to answer this with.", code="no_such_prompt")
    with transaction.atomic():
        edits = []
        if feature == "eula":
            edits = [ConfigEdit(path="eula.txt", parser="properties", finds=[("eula", "true")])]
        elif changes := _changes(container, prompt, value):
            container, _ = update_container(container, user=user, actor=actor, changes=changes, in_place=False)
        _take_off(container, feature)
        record("containers.answer", actor=actor, target=target(container), after={"feature": feature})
        possible = allowed_actions(container.status, desired=container.desired)
        return power.act(container, "restart" if "stop" in possible else "start", user=user, actor=actor, edits=edits)


def dismiss(container: Container, feature: str, *, actor: Actor) -> Container:
    """Not now: it is asked again when its console says so after another start. Raises Conflict `no_such_prompt`."""
    if feature not in container.prompts:
        raise Conflict("It does not ask for this now.", code="no_such_prompt")
    with transaction.atomic():
        _take_off(container, feature)
        record("containers.dismiss", actor=actor, target=target(container), after={"feature": feature})
        announce(container)
    return container


def _take_off(container: Container, feature: str) -> None:
    locked = Container.objects.select_for_update(of=("self",)).only("pk", "prompts").get(pk=container.pk)
    container.prompts = [name for name in locked.prompts if name != feature]
    Container.objects.filter(pk=container.pk).update(prompts=container.prompts)


def _changes(container: Container, prompt: Prompt, value: str) -> dict[str, Any]:
    value = value.strip()
    match prompt.feature:
        case "java_version":
            if value not in {image for _, image in prompt.choices} or not is_reference(value):
                raise _wrong("Choose one of the images of its egg.")
            return {"image": value}
        case "pid_limit":
            if not value.isdigit() or not container.pids < int(value) <= MOST_PIDS:
                raise _wrong(f"A whole number above {container.pids} and at most {MOST_PIDS}.")
            return {"pids": int(value)}
        case "gsl_token":
            if not value or len(value) > 128 or not value.isalnum():
                raise _wrong("A token has letters and digits only.")
            return {"variables": {**container.variables, prompt.variable: value}}
        case "steam_disk_space" if value:
            if not value.isdigit() or not container.disk_bytes < int(value) * GIB <= MOST_GIB * GIB:
                raise _wrong(f"A whole number of GiB, more than the {container.disk_bytes / GIB:.3g} GiB that it has.")
            if not container.disk_bytes:
                raise _wrong("It has no limit of its own: its node's disk is what is full.")
            return {"disk_bytes": int(value) * GIB}
    return {}


def _wrong(message: str) -> Invalid:
    return Invalid(message, code="invalid", errors=[FieldError("value", message, "invalid")])
