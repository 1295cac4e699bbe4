"""Secrets of the pool, at rest: encrypted under the first of FIELD_KEYS, readable under all, made anew under the first by `rotate`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction

from lormas.common.crypto import WrongKey, decrypt, encrypt
from reservations.hands import Endpoint
from reservations.models import Machine, Reservation


def lock(plain: str) -> str:
    """Encrypted; empty stays empty."""
    return encrypt(plain, keys=settings.FIELD_KEYS) if plain else ""


def unlock(kept: str) -> str:
    """In the clear; raises WrongKey."""
    return decrypt(kept, keys=settings.FIELD_KEYS) if kept else ""


def endpoint_of(machine: Machine) -> Endpoint:
    """With its secrets in the clear: make it late, keep it short. Raises WrongKey."""
    return Endpoint(
        name=machine.name,
        host=machine.host,
        port=machine.port,
        user=machine.user,
        password=unlock(machine.password),
        private_key=unlock(machine.private_key),
        host_key=machine.host_key,
    )


def rotate() -> dict[str, int]:
    """Encrypt all secrets anew under the first key; how many rows were, and how many can't be read any more. Safe beside everything else."""
    counts = {"rotated": 0, "unreadable": 0}
    tables: tuple[tuple[Any, tuple[str, ...]], ...] = ((Machine, ("password", "private_key")), (Reservation, ("password",)))
    for model, columns in tables:
        for row in model.objects.only("pk", *columns).iterator(chunk_size=200):
            try:
                fresh = {column: lock(unlock(getattr(row, column))) for column in columns if getattr(row, column)}
            except WrongKey:
                counts["unreadable"] += 1
                continue
            if not fresh:
                continue
            with transaction.atomic():  # only where nobody changed or wiped it meanwhile
                counts["rotated"] += model.objects.filter(pk=row.pk, **{column: getattr(row, column) for column in fresh}).update(**fresh)
    return counts
