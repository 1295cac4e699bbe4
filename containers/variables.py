"""Whose eyes and hands a container's variables are for: what its egg hides or fixes stays with those who manage eggs (I01), and secrets of its
environment with those who may change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accounts.access import has
from audit.masking import masked
from containers.access import grant_kind, rights
from containers.models import Container
from eggs.definition import EggDefinition
from eggs.rendering import HIDDEN

MADE: Final = ("env", "variables", "command", "startup_script")
"""Where people put passwords for what runs inside."""


def stands_as_editor(user: Any, container: Container) -> bool:
    """May change it by what they are, as its owner or in the role of one for all; costs no query, unlike `edits`."""
    return has(user, "containers.edit") and grant_kind().standing(user, container)


def edits(user: Any, container: Container) -> bool:
    """May change it, also by a grant."""
    return stands_as_editor(user, container) or "containers.edit" in rights(user, container)


def as_told(wish: Mapping[str, Any], *, to_editor: bool) -> dict[str, Any]:
    """Whole for those who may change it; for others who see it as the journal keeps it, with `***` for what looks like a secret."""
    return dict(wish) if to_editor else {**wish, **{name: masked({name: wish[name]})[name] for name in MADE if name in wish}}


def shown_variables(container: Container, user: Any) -> dict[str, str]:
    """The values this person may read. `user` None: those anybody who sees the container may read."""
    if container.egg_version is None or (user is not None and has(user, "eggs.manage")):
        return dict(container.variables)
    hidden = set(container.egg_version.hidden)
    return {name: value for name, value in container.variables.items() if name.upper() not in hidden}


def for_journal(container: Container, variables: Mapping[str, str]) -> dict[str, str]:
    """Values as the journal keeps them."""
    hidden = set(container.egg_version.hidden) if container.egg_version is not None else set()
    return {name: HIDDEN if name.upper() in hidden else value for name, value in variables.items()}


def _settable(container: Container) -> set[str]:
    assert container.egg_version is not None
    definition = EggDefinition.from_json(container.egg_version.definition)
    return {v.env_variable.upper() for v in definition.effective_variables() if v.user_viewable and v.user_editable}


def asked(container: Container, given: Mapping[str, str], *, user: Any) -> dict[str, str]:
    """What this person really asks to set: what was read and is sent back as it was, of variables that are not theirs, is none of it."""
    if container.egg_version is None or has(user, "eggs.manage"):
        return dict(given)
    settable = _settable(container)
    return {name: value for name, value in given.items() if name.upper() in settable or container.variables.get(name) != value}


def merged(container: Container, given: Mapping[str, str], *, user: Any) -> dict[str, str]:
    """What is stored when this person replaces the variables: what is not theirs to set stays as it is."""
    if container.egg_version is None or has(user, "eggs.manage"):
        return dict(given)
    settable = _settable(container)
    kept = {name: value for name, value in container.variables.items() if name.upper() not in settable}
    return {**{name: value for name, value in given.items() if name.upper() in settable}, **kept}
