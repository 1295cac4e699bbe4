"""A second container of the same make."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from accounts.access import has
from audit.services import Actor
from containers.models import Container, ContainerSettings
from containers.services.create import NewContainer, PortWish, create_container
from containers.services.edit import OWN
from containers.services.manners import settings_of
from containers.spec import Asked
from containers.variables import MADE, as_told, edits, shown_variables
from eggs.definition import EggDefinition
from lormas.common.crypto import decrypt
from lormas.common.errors import FieldError, Forbidden
from nodes.models import Operation


def free_name(container: Container, *, owner: Any) -> str:
    """`web-2`, `web-3`, … the first that this person has not."""
    taken = set(Container.objects.alive().filter(owner=owner, name__startswith=container.name[:56]).values_list("name", flat=True))
    return next(name for number in range(2, len(taken) + 3) if (name := f"{container.name[:56]}-{number}") not in taken)


def duplicate(
    container: Container, *, name: str = "", start: bool = True, is_session: bool = False, user: Any, actor: Actor
) -> tuple[Container, Operation]:
    """Make another of the same image or egg, settings, limits and as many ports (with other numbers outside). It is this person's, placed anew in
    the same cluster; files are not copied. It is a session container only if asked for, whatever the first one is: then it needs a place as any.

    What is not this person's to have stays behind: values that the egg hides or fixes, another owner's registry password, and, for those who may
    not change the first one, what looks like a secret in its environment, command and startup script.

    Raises:
        Forbidden `policy_denied`: it mounts folders of its node. What `create_container` raises.
    """
    if any(mount.get("kind") == "volume" for mount in container.mounts):
        raise Forbidden(
            "It was taken over with its volumes: two containers writing to the same ones would spoil them.",
            code="policy_denied",
            errors=[FieldError("mounts", "It has volumes that were there before.", "policy_denied")],
        )
    if any(mount.get("kind") == "bind" for mount in container.mounts) and not has(user, "containers.host_access"):
        raise Forbidden(
            "It mounts folders of its node: duplicating it needs the right to use the host.",
            code="policy_denied",
            errors=[FieldError("mounts", "It has a bind mount.", "policy_denied")],
        )
    primary_first = container.ports.order_by("-is_primary", "id")
    same_inside = container.egg_version is not None and _listens_on_outside(container)
    data = NewContainer(
        name=name or free_name(container, owner=user),
        description=container.description,
        egg=container.egg,
        image=container.image,
        command=_theirs(container, user, "command", container.command) if container.egg is None else [],
        env=_theirs(container, user, "env", container.env),
        variables=_theirs(container, user, "variables", _own_variables(container, user)),
        startup=container.startup,
        labels=container.labels,
        mounts=container.mounts,
        asked=Asked.of(container),
        ports=[PortWish(0 if same_inside and p.container_port == p.host_port else p.container_port, 0, p.protocol) for p in primary_first],
        cluster=container.node.cluster if container.node is not None else None,
        start=start,
        restart_policy=container.restart_policy,
        registry=_registry(container, user),
        placement=container.placement,
        is_session=is_session,
    )
    own = settings_of(container)
    with transaction.atomic():
        made, operation = create_container(user=user, actor=actor, data=data)
        if own.pk is not None and not own._state.adding:
            kept = {name: _theirs(container, user, name, getattr(own, name)) for name in OWN}
            if is_session and not kept["idle_timeout_seconds"]:
                del kept["idle_timeout_seconds"]  # that of a new session stands
            ContainerSettings.objects.update_or_create(container=made, defaults=kept)
    return made, operation


def _listens_on_outside(container: Container) -> bool:
    assert container.egg_version is not None
    return EggDefinition.from_json(container.egg_version.definition).runs == "startup"


def _theirs(container: Container, user: Any, name: str, value: Any) -> Any:
    """Of a map what they may read, of anything else the whole or nothing."""
    told = as_told({name: value}, to_editor=edits(user, container))[name]
    if isinstance(value, dict) and name in MADE:
        return {key: one for key, one in value.items() if told.get(key) == one}
    return value if told == value else type(value)()


def _own_variables(container: Container, user: Any) -> dict[str, str]:
    """Those this person may set."""
    values = shown_variables(container, user)
    if container.egg_version is None or has(user, "eggs.manage"):
        return values
    definition = EggDefinition.from_json(container.egg_version.definition)
    settable = {v.env_variable.upper() for v in definition.effective_variables() if v.user_viewable and v.user_editable}
    return {name: value for name, value in values.items() if name.upper() in settable}


def _registry(container: Container, user: Any) -> dict[str, str]:
    from django.conf import settings

    kept = dict(container.registry)
    if container.owner_id != user.pk or not kept:
        return {}
    if kept.get("password"):
        kept["password"] = decrypt(kept["password"], keys=settings.FIELD_KEYS)
    return kept
