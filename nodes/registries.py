"""Registries with stored credentials: encrypted here, sent to a node only with a pull, never given out."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from agent.protocol.messages import RegistryAuth
from audit.services import Actor, Target, record
from lormas.common.crypto import decrypt, encrypt
from lormas.common.database import one
from lormas.common.errors import Conflict, FieldError, Invalid
from nodes.models import Registry

DEFAULT_SERVER = "docker.io"
SERVER = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?(?::\d{1,5})?$|^\[[0-9a-fA-F:]+\](?::\d{1,5})?$")


def server_of(image: str) -> str:
    """The registry that an image name speaks of: its first part if that looks like a host, else the default one."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else DEFAULT_SERVER


def _target(registry: Registry) -> Target:
    return Target("registry", str(registry.pk), registry.name)


def _save(registry: Registry) -> None:
    if not SERVER.match(registry.server):
        raise Invalid(
            "The server is not valid.", errors=[FieldError("server", "A host name as it stands in image names, with its port if it has one.")]
        )
    try:
        with transaction.atomic():
            registry.save()
    except IntegrityError:
        field = "server" if Registry.objects.filter(server=registry.server).exclude(pk=registry.pk).exists() else "name"
        raise Conflict(
            f"There is already a registry with this {field}.", code=f"{field}_taken", errors=[FieldError(field, "Taken.", "unique")]
        ) from None


@transaction.atomic
def create_registry(*, actor: Actor, name: str, server: str, username: str = "", password: str = "", is_shared: bool = False) -> Registry:
    """Store one. Raises Invalid, Conflict(`name_taken`, `server_taken`)."""
    registry = Registry(name=name, server=server.lower(), username=username, is_shared=is_shared)
    registry.password = encrypt(password, keys=settings.FIELD_KEYS) if password else ""
    _save(registry)
    record(
        "registries.create", actor=actor, target=_target(registry), after={"server": registry.server, "username": username, "is_shared": is_shared}
    )
    return registry


@transaction.atomic
def update_registry(registry: Registry, *, actor: Actor, **changes: Any) -> Registry:
    """Change it; a password that is left out stays. Raises Invalid, Conflict."""
    before = {name: getattr(registry, name) for name in changes if name != "password"}
    password = changes.pop("password", None)
    if "server" in changes:
        changes["server"] = str(changes["server"]).lower()
        if changes["server"] != registry.server and not password:
            # Else whoever may change the address, but never saw the password, could have it sent to a machine of theirs.
            registry.password = ""
    for name, value in changes.items():
        setattr(registry, name, value)
    if password is not None:
        registry.password = encrypt(password, keys=settings.FIELD_KEYS) if password else ""
    _save(registry)
    record("registries.update", actor=actor, target=_target(registry), before=before, after={**changes, "password_changed": password is not None})
    return registry


@transaction.atomic
def delete_registry(registry: Registry, *, actor: Actor) -> None:
    """Forget it."""
    target = _target(registry)
    registry.delete()
    record("registries.delete", actor=actor, target=target)


def auth_for(image: str, *, shared_only: bool) -> RegistryAuth | None:
    """Credentials for pulling an image, if a registry of its server is stored. `shared_only`: people's containers may use only shared ones (D15)."""
    found = Registry.objects.filter(server=server_of(image).lower()).exclude(username="")
    registry = one(found.filter(is_shared=True) if shared_only else found)
    if registry is None:
        return None
    password = decrypt(registry.password, keys=settings.FIELD_KEYS) if registry.password else ""
    return RegistryAuth(server=registry.server, username=registry.username, password=password)
