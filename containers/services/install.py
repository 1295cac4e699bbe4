"""Install scripts of eggs: the first time a container is made, and again when somebody asks."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction

from agent.protocol.commands import InstallPayload
from agent.protocol.messages import ContainerSpec, StopSpec
from agent.protocol.parts import InstallScript
from audit.services import Actor, record
from containers.models import Container
from containers.services import sessions
from containers.services.create import CREATE_SECONDS, registry_auth, render_spec
from containers.services.locks import require_online, take
from containers.services.power import check_allowed, stop_spec
from containers.services.publish import announce, target
from containers.spec import as_kept
from containers.states import Desired, InstallState
from eggs.definition import EggDefinition
from eggs.installing import has_install_script, install_script
from lormas.common.errors import Conflict
from nodes import commands
from nodes.models import Operation


def deadline_seconds() -> float:
    """Of the whole command: both images may have to be pulled, then the script has its time."""
    return float(settings.INSTALL_TIMEOUT_SECONDS + 2 * CREATE_SECONDS)


def installs(container: Container) -> bool:
    """Has its egg (the version it is of) an install script?"""
    version = container.egg_version
    return version is not None and has_install_script(EggDefinition.from_json(version.definition))


def script_of(container: Container, spec: ContainerSpec) -> InstallScript | None:
    """Its script with the environment that it will run in; None if there is none."""
    if container.egg_version is None:
        return None
    definition = EggDefinition.from_json(container.egg_version.definition)
    return install_script(definition, image=spec.image, env=spec.env, timeout_seconds=settings.INSTALL_TIMEOUT_SECONDS)


def enqueue_install(container: Container, *, spec: ContainerSpec, script: InstallScript, operation: Operation, start: bool, stop: StopSpec) -> None:
    """The durable command. Call inside the act's transaction, with the container's lock."""
    assert container.node is not None
    Container.objects.filter(pk=container.pk).update(install_state=InstallState.NEEDED, prompts=[], features_seen=[], readiness="")
    container.install_state = InstallState.NEEDED
    commands.enqueue(
        container.node,
        "container.install",
        payload=InstallPayload(spec=spec, install=script, start=start, stop=stop, registry_auth=registry_auth(container)),
        operation=operation,
        subject_id=container.pk,
        epoch=container.epoch,
        deadline_seconds=deadline_seconds(),
    )


def reinstall(container: Container, *, user: Any, actor: Actor, start: bool | None = None) -> Operation:
    """Stop it, run the install script again over its files, make it anew. Files that the script does not touch stay.

    Args:
        start: start it afterwards; None = if it was wanted running.

    Raises:
        Conflict `no_install_script`, `wrong_state`. Locked. NodeUnavailable. Invalid `invalid_variables`. Refused `too_many_sessions`: it is to
            start, and is a session container without a place.
    """
    node = require_online(container.node)
    with transaction.atomic():
        container = Container.objects.select_for_update(of=("self",)).select_related("node", "operation", "egg_version").get(pk=container.pk)
        if not installs(container):
            raise Conflict("Its egg has no install script: there is nothing to install again.", code="no_install_script")
        if container.running_operation is None:
            check_allowed(container, "reinstall")
        spec = render_spec(container)
        script = script_of(container, spec)
        assert script is not None
        start = container.desired == Desired.RUNNING if start is None else start
        if start:
            sessions.take_place(container)
        stop = stop_spec(container, None)
        operation = take(container, "reinstall", user=user, deadline_seconds=deadline_seconds())
        desired = Desired.RUNNING if start else Desired.STOPPED
        Container.objects.filter(pk=container.pk).update(desired=desired, restarts=0, spec=as_kept(spec), spec_changed=False)
        container.desired = desired
        container.node = node
        enqueue_install(container, spec=spec, script=script, operation=operation, start=start, stop=stop)
        record("containers.reinstall", actor=actor, target=target(container), after={"image": script.image})
        announce(container)
    return operation
