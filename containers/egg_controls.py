"""From an egg's variables to the controls of the new-container form."""

from __future__ import annotations

from collections.abc import Mapping

from containers.newform import Control, read_rules
from eggs.definition import EggDefinition
from eggs.models import Egg


def _definition(egg: Egg) -> EggDefinition | None:
    return EggDefinition.from_json(egg.current.definition) if egg.current else None


def controls_of(egg: Egg, values: Mapping[str, str]) -> list[Control]:
    """One control a variable that its users may see, in the egg's order, holding `values` or the default."""
    definition = _definition(egg)
    found: list[Control] = []
    for variable in definition.variables if definition else ():
        if not variable.user_viewable:
            continue
        rules = read_rules(variable.rules, name=variable.env_variable)
        found.append(
            Control(
                name=variable.env_variable,
                label=variable.name or variable.env_variable,
                help=variable.description,
                kind=rules.kind,
                value=values.get(variable.env_variable, variable.default_value),
                options=rules.options,
                required=rules.required,
                editable=variable.user_editable,
                minimum=rules.minimum,
                maximum=rules.maximum,
                max_length=rules.max_length,
            )
        )
    return found


def defaults_of(egg: Egg) -> dict[str, str]:
    """What the egg takes where nothing is given."""
    definition = _definition(egg)
    return {variable.env_variable: variable.default_value for variable in definition.variables} if definition else {}


def offered_images(egg: Egg) -> list[tuple[str, str]]:
    """(image, label) as the egg offers them, its first choice first."""
    definition = _definition(egg)
    return [(image, label) for label, image in definition.docker_images] if definition else []
