"""The kinds of destinations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings

from containers.models import BackupDestination
from containers.stores.base import Store
from containers.stores.folder import FolderStore
from containers.stores.s3 import S3Store
from lormas.common.crypto import decrypt


def _folder(destination: BackupDestination) -> Store:
    return FolderStore(Path(destination.config["folder"]))


def _s3(destination: BackupDestination) -> Store:
    secret: dict[str, Any] = json.loads(decrypt(destination.secret, keys=settings.FIELD_KEYS)) if destination.secret else {}
    config = destination.config
    return S3Store(
        bucket=config["bucket"],
        prefix=config.get("prefix", ""),
        endpoint=config.get("endpoint", ""),
        region=config.get("region", ""),
        access_key=secret.get("access_key", ""),
        secret_key=secret.get("secret_key", ""),
    )


KINDS = {BackupDestination.Kind.LOCAL.value: _folder, BackupDestination.Kind.S3.value: _s3}


def store_of(destination: BackupDestination) -> Store:
    """The store behind a destination. Raises StoreFault, lormas.common.crypto.WrongKey."""
    return KINDS[destination.kind](destination)
