"""Sizes for eyes."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size_word(size_bytes: float, *, gap: str = " ") -> str:
    """`1.50 GiB`; the same rule as frontend/src/format.js."""
    number, step = float(size_bytes), 0
    while abs(number) >= 1023.5 and step < len(_UNITS) - 1:
        number /= 1024
        step += 1
    digits = 0 if step == 0 or number >= 99.5 else 1 if number >= 9.95 else 2
    return f"{number:.{digits}f}{gap}{_UNITS[step]}"
