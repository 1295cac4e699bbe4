"""Where backups are kept: administrators' acts on destinations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from audit.services import SYSTEM, Actor, Target, record
from containers.models import Backup, BackupDestination
from containers.stores import StoreFault, store_of
from containers.stores.base import probe
from lormas.common import clock
from lormas.common.crypto import WrongKey, decrypt, encrypt
from lormas.common.errors import Conflict, FieldError, Invalid, Refused

LOCAL, S3 = BackupDestination.Kind.LOCAL, BackupDestination.Kind.S3
FIELDS = {LOCAL: ("folder",), S3: ("bucket", "prefix", "endpoint", "region")}
SECRETS = {LOCAL: (), S3: ("access_key", "secret_key")}


def standard_folder() -> Path:
    """Where backups go on a panel that nobody has told anything else."""
    folder: Path = settings.DATA_DIR
    return folder / "backups"


def default_destination() -> BackupDestination:
    """The default one; on a panel that has none yet, a folder beside its data. Raises Refused `no_destination`."""
    found = BackupDestination.objects.filter(is_default=True, is_enabled=True).first()
    if found is not None:
        return found
    if not BackupDestination.objects.exists():
        try:
            with transaction.atomic():
                made = BackupDestination.objects.create(name="Panel", kind=LOCAL, config={"folder": str(standard_folder())}, is_default=True)
                record("backups.destination_added", actor=SYSTEM, target=target(made), after=shown(made))
                return made
        except IntegrityError:  # a rival made it
            return default_destination()
    raise Refused("No destination for backups is the default one and in use: an administrator sets one under Settings.", code="no_destination")


def target(destination: BackupDestination) -> Target:
    return Target("backup_destination", str(destination.pk), destination.name)


def shown(destination: BackupDestination) -> dict[str, Any]:
    """All but its secrets."""
    return {
        "name": destination.name,
        "kind": destination.kind,
        **destination.config,
        "is_default": destination.is_default,
        "is_enabled": destination.is_enabled,
    }


def add(*, name: str, kind: str, given: dict[str, str], is_default: bool, actor: Actor) -> BackupDestination:
    """`given`: fields and secrets of its kind. Raises Invalid, Conflict `name_taken`."""
    config, secret = _parts(kind, given, None)
    with transaction.atomic():
        first = not BackupDestination.objects.exists()
        made = BackupDestination(name=name, kind=kind, config=config, secret=_sealed(secret))
        try:
            with transaction.atomic():
                made.save(force_insert=True)
        except IntegrityError:
            raise _taken(name) from None
        record("backups.destination_added", actor=actor, target=target(made), after=shown(made))
        if is_default or first:
            _make_default(made)
    return made


def change(
    destination: BackupDestination,
    *,
    actor: Actor,
    name: str | None = None,
    given: dict[str, str] | None = None,
    is_default: bool | None = None,
    is_enabled: bool | None = None,
) -> BackupDestination:
    """Secrets that are not given stay. Where archives lie already, folder or bucket can't be changed (they would be lost to us)."""
    with transaction.atomic():
        destination = BackupDestination.objects.select_for_update().get(pk=destination.pk)
        before = shown(destination)
        if given:
            config, secret = _parts(destination.kind, {**destination.config, **given}, destination)
            place = ("folder", "bucket", "prefix", "endpoint")
            moved = any(config.get(field, "") != destination.config.get(field, "") for field in place)
            if moved and destination.backups.exists():
                raise Conflict(
                    f"{destination.name} holds {destination.backups.count()} backups: add another destination instead of moving this one.",
                    code="in_use",
                )
            destination.config, destination.secret = config, _sealed(secret)
        destination.name = name or destination.name
        if is_enabled is not None:
            if not is_enabled and destination.is_default:
                raise Conflict("The default destination can't be switched off: make another one the default first.", code="is_default")
            destination.is_enabled = is_enabled
        try:
            with transaction.atomic():
                destination.save()
        except IntegrityError:
            raise _taken(destination.name) from None
        if is_default:
            _make_default(destination)
        record("backups.destination_changed", actor=actor, target=target(destination), before=before, after=shown(destination))
    return destination


def remove(destination: BackupDestination, *, actor: Actor) -> None:
    """Raises Conflict `in_use`: it holds backups."""
    try:
        with transaction.atomic():
            record("backups.destination_removed", actor=actor, target=target(destination), before=shown(destination))
            destination.delete()
    except ProtectedError:
        count = Backup.objects.filter(destination=destination).count()
        raise Conflict(f"{destination.name} holds {count} backups: delete them first.", code="in_use") from None


def test(destination: BackupDestination, *, actor: Actor) -> BackupDestination:
    """Write, read and remove something small there; `problem` says how it went."""
    problem = ""
    try:
        probe(store_of(destination))
    except StoreFault as fault:
        problem = fault.detail[:255]
    except WrongKey:
        problem = "Its credentials were encrypted under a key that is no longer configured: enter them again."
    BackupDestination.objects.filter(pk=destination.pk).update(tested_at=clock.now(), problem=problem)
    record("backups.destination_tested", actor=actor, target=target(destination), outcome="failed" if problem else "ok", message=problem)
    destination.refresh_from_db()
    return destination


def _make_default(destination: BackupDestination) -> None:
    BackupDestination.objects.filter(is_default=True).exclude(pk=destination.pk).update(is_default=False)
    BackupDestination.objects.filter(pk=destination.pk).update(is_default=True, is_enabled=True)
    destination.is_default = destination.is_enabled = True


def _sealed(secret: dict[str, str]) -> str:
    return encrypt(json.dumps(secret), keys=settings.FIELD_KEYS) if secret else ""


def _taken(name: str) -> Conflict:
    return Conflict(
        f"There is a destination named {name} already.", code="name_taken", errors=[FieldError("name", "This name is taken.", "name_taken")]
    )


def _parts(kind: str, given: dict[str, str], known: BackupDestination | None) -> tuple[dict[str, str], dict[str, str]]:
    """(config, secret), checked. Raises Invalid."""
    wrong: list[FieldError] = []
    fields, secrets = FIELDS[BackupDestination.Kind(kind)], SECRETS[BackupDestination.Kind(kind)]
    config = {name: str(given.get(name, "")).strip() for name in fields}
    kept: dict[str, str] = {}
    if known is not None and known.secret:
        try:
            kept = json.loads(decrypt(known.secret, keys=settings.FIELD_KEYS))
        except WrongKey:
            kept = {}
    secret = {name: str(given.get(name, "") or kept.get(name, "")) for name in secrets}
    if kind == LOCAL:
        config["folder"] = config["folder"] or str(standard_folder())
        if not Path(config["folder"]).is_absolute() or ".." in Path(config["folder"]).parts:
            wrong.append(FieldError("folder", "An absolute path of the panel's machine, without '..'.", "invalid"))
    else:
        if not config["bucket"] or "/" in config["bucket"]:
            wrong.append(FieldError("bucket", "The name of a bucket.", "required"))
        if config["endpoint"] and not config["endpoint"].startswith(("http://", "https://")):
            wrong.append(FieldError("endpoint", "An address such as https://s3.example.org, or nothing for AWS.", "invalid"))
        wrong += [FieldError(name, "It can't be empty.", "required") for name in secrets if not secret[name]]
    if wrong:
        raise Invalid("Some fields of the destination are not right.", code="invalid_destination", errors=wrong)
    return config, secret
