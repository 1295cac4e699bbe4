"""Resolving the wiring table: dotted string -> callable, once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.utils.module_loading import import_string


@cache
def resolve(dotted: str) -> Callable[..., Any]:
    """The callable behind `package.module.name`; raises ImportError."""
    found = import_string(dotted)
    if not callable(found):
        raise ImportError(f"{dotted} is not callable")
    return found  # type: ignore[no-any-return]


def wired(table: str) -> Any:
    """One table of `lormas.wiring` by name (the kernel may not import the composition root's modules directly)."""
    return getattr(__import__("lormas.wiring", fromlist=[table]), table)
