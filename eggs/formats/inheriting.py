"""Compose services that extend one of the same file, written out (pure). Another file lies elsewhere and is not fetched."""

from __future__ import annotations

from typing import Any, Final

from eggs.formats.plain import text_of
from eggs.problems import EggRefused

DEEPEST: Final = 16
MOST_MERGED: Final = 50_000
"""Values that are put together for all services of a file: who extends much often must not cost without end."""
_OWN: Final = frozenset({"command", "entrypoint"})
"""Lists that replace, where others add."""
_NOT_TAKEN: Final = frozenset({"extends", "depends_on", "volumes_from"})
_PAIRS: Final = frozenset({"environment", "labels", "annotations", "sysctls", "extra_hosts"})


class Family:
    """All services of a file."""

    def __init__(self, services: dict[str, Any]) -> None:
        self._services = services
        self._merged = 0

    def whole(self, service: Any) -> Any:
        """The service with what it extends. Raises EggRefused."""
        return self._whole(service, 0)

    def _whole(self, service: Any, depth: int) -> Any:
        found = service.get("extends") if isinstance(service, dict) else None
        if found is None:
            return service
        name = found.get("service") if isinstance(found, dict) else found
        if isinstance(found, dict) and found.get("file"):
            raise EggRefused("E_NEEDS_GIT", "It extends a service of another file, which is not fetched: write it out.")
        base = self._services.get(text_of(name))
        if not isinstance(base, dict):
            raise EggRefused("E_EXTENDS", f"It extends {text_of(name)[:60]!r}, which is no service of this file.")
        if depth >= DEEPEST:
            raise EggRefused("E_EXTENDS", f"It extends itself, or more than {DEEPEST} services one after the other.")
        return self._put_together(self._whole(base, depth + 1), service, top=True)

    def _put_together(self, base: dict[str, Any], own: dict[str, Any], *, top: bool = False) -> dict[str, Any]:
        self._count(len(base) + len(own))
        made = {key: value for key, value in base.items() if not (top and key in _NOT_TAKEN)}
        for key, value in own.items():
            if top and key == "extends":
                continue
            made[key] = self._one(key, made[key], value) if key in made and value is not None else value
        return made

    def _one(self, key: str, base: Any, own: Any) -> Any:
        if key in _PAIRS:
            base, own = _pairs(base), _pairs(own)
        if isinstance(base, dict) and isinstance(own, dict):
            return self._put_together(base, own)
        if isinstance(base, list) and isinstance(own, list) and key not in _OWN and key != "test":
            self._count(len(base) + len(own))
            return _by_target(base, own) if key in ("volumes", "devices") else [*base, *(item for item in own if item not in base[:64])]
        return own

    def _count(self, values: int) -> None:
        self._merged += values
        if self._merged > MOST_MERGED:
            raise EggRefused("E_EXTENDS", "The services of this file extend each other too often.")


def _pairs(value: Any) -> Any:
    """`["K=V", "K"]` as a map."""
    if not isinstance(value, list):
        return value
    split = (text_of(item).partition("=") for item in value)
    return {name: value if equals else None for name, equals, value in split}


def _by_target(base: list[Any], own: list[Any]) -> list[Any]:
    """What is mounted at the same place is mounted once."""
    taken = {_target(item) for item in own}
    return [*(item for item in base if _target(item) not in taken), *own]


def _target(item: Any) -> str:
    if isinstance(item, dict):
        return text_of(item.get("target")).rstrip("/")
    parts = text_of(item).split(":")
    return (parts[1] if len(parts) > 1 else parts[0]).rstrip("/")
