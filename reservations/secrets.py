"""Secrets of the pool, at rest: encrypted under the first of FIELD_KEYS, readable under all (`lormas.sealed` moves them to the first)."""

from __future__ import annotations

from django.conf import settings

from lormas.common.crypto import decrypt, encrypt
from reservations.hands import Endpoint
from reservations.models import Machine


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
