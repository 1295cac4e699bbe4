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


@dataclass(frozen=True, slots=True)
class Prompt:
    """One open question. `choices` are (label, image) pairs, `suggestion` what to offer."""

    feature: str
    choices: list[tuple[str, str]] = field(default_factory=list)
    suggestion: str = ""
    variable: str = ""
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
    return Prompt(feature)


def _token_variable(definition: EggDefinition) -> str:
    for name in TOKEN_NAMES:
        variable = definition.variable(name)
        if variable is not None:
            return variable.env_variable
    return ""


def answer(container: Container, feature: str, *, value: str = "", user: Any, actor: Actor) -> Operation:
    """Do what the prompt promises, and start (or restart) the container; the operation is that start.

    eula: writes `eula=true` to eula.txt. java_version: `value` is another image of its egg. pid_limit: `value` is the new limit. gsl_token:
    `value` is the token. steam_disk_space: only starts it again.

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
            container, _ = update_container(container, user=user, actor=actor, changes=changes)
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
    return {}


def _wrong(message: str) -> Invalid:
    return Invalid(message, code="invalid", errors=[FieldError("value", message, "invalid")])
