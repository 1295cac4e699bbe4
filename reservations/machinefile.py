"""Machine files: YAML or JSON `{machines: [{name, host, port?, user, password | private_key, labels?, ...}]}`."""

from __future__ import annotations

from typing import Any

from eggs.formats.reading import MAX_BYTES, read
from eggs.problems import EggRefused, Warnings
from lormas.common.errors import Invalid

__all__ = ["MAX_BYTES", "machines_of"]


def machines_of(data: bytes, *, filename: str = "") -> list[Any]:
    """The entries, as plain data; what each may hold is the serializer's to say. Raises Invalid."""
    try:
        value = read(data, filename=filename, warnings=Warnings())
    except EggRefused as error:
        raise Invalid(error.detail, code="malformed") from error
    rows = value.get("machines") if isinstance(value, dict) else value
    if not isinstance(rows, list) or not rows:
        raise Invalid("The file needs a list `machines:` with at least one machine.", code="malformed")
    return rows
