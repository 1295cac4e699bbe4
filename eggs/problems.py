"""Why an egg is refused (E_*), and what is odd about one that is taken (W_*)."""

from __future__ import annotations

from dataclasses import dataclass

from lormas.common.errors import Refused


class EggRefused(Refused):
    """422. `code` is one of EGGS.md section 11."""

    title = "The egg was refused"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, code=code)


@dataclass(frozen=True, slots=True)
class EggWarning:
    """One oddity that does not keep the egg from running."""

    code: str
    message: str


class Warnings:
    """Collects oddities, each code once."""

    def __init__(self) -> None:
        self._found: dict[str, EggWarning] = {}

    def add(self, code: str, message: str) -> None:
        self._found.setdefault(code, EggWarning(code, message))

    def all(self) -> list[EggWarning]:
        return list(self._found.values())
