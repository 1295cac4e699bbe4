"""From an egg's variables to the controls of the new-container form and of a container's Startup page."""

from __future__ import annotations

from collections.abc import Mapping

from containers.newform import Control, read_rules
from eggs.definition import EggDefinition
from eggs.models import Egg


def definition_of(egg: Egg) -> EggDefinition | None:
    """What its current version says."""
    return EggDefinition.from_json(egg.current.definition) if egg.current else None


def controls_of(definition: EggDefinition | None, values: Mapping[str, str], *, manager: bool = False) -> list[Control]:
    """One control a variable, in the egg's order, holding `values` (by name in any case) or the default.

    Hidden variables are there for a `manager` only, who may set all; others set what is both viewable and editable.
    """
    given = {env.upper(): value for env, value in values.items()}
    found: list[Control] = []
    for variable in definition.effective_variables() if definition else ():
        if not variable.user_viewable and not manager:
            continue
        look = read_rules(variable.rules, name=variable.env_variable)
        found.append(
            Control(
                name=variable.env_variable,
                label=variable.name or variable.env_variable,
                help=variable.description,
                kind=look.kind,
                value=given.get(variable.env_variable.upper(), variable.default_value),
                options=look.options,
                required=look.required,
                editable=manager or variable.user_editable,
                minimum=look.minimum,
                maximum=look.maximum,
                max_length=look.max_length,
                min_length=look.min_length,
                step=look.step,
                input_mode=look.input_mode,
                on=look.on,
                off=look.off,
                hidden=not variable.user_viewable,
            )
        )
    return found


def defaults_of(egg: Egg) -> dict[str, str]:
    """What the egg takes where nothing is given."""
    definition = definition_of(egg)
    return {variable.env_variable: variable.default_value for variable in definition.effective_variables()} if definition else {}


def offered_images(egg: Egg) -> list[tuple[str, str]]:
    """(image, label) as the egg offers them, its first choice first."""
    definition = definition_of(egg)
    return [(image, label) for label, image in definition.docker_images] if definition else []
