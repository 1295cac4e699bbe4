"""What the new-container form needs to know of an egg."""

from __future__ import annotations

from eggs.definition import EggDefinition
from eggs.models import Egg


def definition_of(egg: Egg) -> EggDefinition | None:
    """What its current version says."""
    return EggDefinition.from_json(egg.current.definition) if egg.current else None


def defaults_of(egg: Egg) -> dict[str, str]:
    """What the egg takes where nothing is given."""
    definition = definition_of(egg)
    return {variable.env_variable: variable.default_value for variable in definition.effective_variables()} if definition else {}


def offered_images(egg: Egg) -> list[tuple[str, str]]:
    """(image, label) as the egg offers them, its first choice first."""
    definition = definition_of(egg)
    return [(image, label) for label, image in definition.docker_images] if definition else []
