"""What a Compose file leaves to its user: `${NAME}`, `$NAME`, `${NAME:-default}`, `${NAME:?why}`, `${NAME:+else}`, `$$` (pure)."""

from __future__ import annotations

import re
from typing import Any, Final

from eggs.definition import Variable
from eggs.formats import plain
from eggs.problems import Warnings

_INTERPOLATION: Final = re.compile(
    r"\$(?:(\$)|\{([A-Za-z_]\w*)(?:(:?[-?+])((?:[^{}$]++|\$\$|\$\{[A-Za-z_]\w*(?::?[-?+][^{}]*)?\}|\$)*+))?\}|([A-Za-z_]\w*))", re.ASCII
)
"""A default may hold one more such name, with a default of its own."""


class Asked:
    """Collects the names; those that an egg can ask for become its variables."""

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings
        self.names: dict[str, tuple[str, bool]] = {}
        """name -> (default, required)"""

    def _note(self, match: re.Match[str]) -> tuple[str, str]:
        name = match[2] or match[5]
        how, rest = match[3] or "", match[4] or ""
        default = _default(rest) if how in ("-", ":-") else ""
        known = self.names.get(name, ("", False))
        self.names[name] = (known[0] or default, known[1] or "?" in how)
        return name, default

    def flat(self, value: Any) -> Any:
        """Filled in with the defaults."""
        if not isinstance(value, str):
            return value

        def fill(match: re.Match[str]) -> str:
            if match[1]:
                return "$"
            if (match[3] or "").endswith("+"):  # nobody gave it
                return ""
            before = self.names.get(match[2] or match[5])
            name, default = self._note(match)
            self._warnings.add("W_INTERPOLATED", f"${{{name}}} stands where an egg can't ask for it: its default is written in its place.")
            if before is None:
                self.names.pop(name, None)
            return default

        return _INTERPOLATION.sub(fill, value)

    def deep(self, value: Any) -> Any:
        """`flat` for all texts of a list or map, one level down."""
        if isinstance(value, dict):
            return {key: self.flat(child) for key, child in value.items()}
        return [self.flat(child) for child in value] if isinstance(value, list) else self.flat(value)

    def words(self, word: str) -> str:
        """As an egg writes it: `{{NAME}}`."""

        def fill(match: re.Match[str]) -> str:
            if match[1]:
                return "$"
            if (match[3] or "").endswith("+"):
                return ""
            return "{{" + self._note(match)[0] + "}}"

        return _INTERPOLATION.sub(fill, word)

    def value(self, text: str) -> tuple[str, bool, str]:
        """(default, required, the one name that it is) of a value in the environment."""
        match = _INTERPOLATION.fullmatch(text)
        if match is not None and not match[1] and not (match[3] or "").endswith("+"):
            name = match[2] or match[5]
            how, rest = match[3] or "", match[4] or ""
            return (_default(rest) if how in ("-", ":-") else ""), "?" in how, name
        return self.flat(text), False, ""

    def variables(self, taken: set[str]) -> list[Variable]:
        """Those that stand in commands and are no variable yet."""
        return [
            plain.variable(name, default=default, rules=["required" if required else "nullable", "string"])
            for name, (default, required) in self.names.items()
            if name not in taken
        ]


def _default(text: str, depth: int = 0) -> str:
    """A default as it is if nobody gives any of the names in it."""

    def fill(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        return _default(match[4] or "", depth + 1) if (match[3] or "") in ("-", ":-") and depth < 4 else ""

    return _INTERPOLATION.sub(fill, text)
