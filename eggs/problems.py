"""Why an egg is refused (E_*), and what is odd about one that is taken (W_*)."""

from __future__ import annotations

from dataclasses import dataclass

from lormas.common.errors import Refused

MAX_MESSAGE_CHARS = 600


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
    """Collects oddities, each code once; what else there is to say under the same code follows in its message."""

    def __init__(self) -> None:
        self._found: dict[str, EggWarning] = {}

    def add(self, code: str, message: str) -> None:
        found = self._found.get(code)
        if found is None:
            self._found[code] = EggWarning(code, message)
        elif message not in found.message and len(found.message) < MAX_MESSAGE_CHARS:
            self._found[code] = EggWarning(code, f"{found.message} {message}")

    def all(self) -> list[EggWarning]:
        return list(self._found.values())
