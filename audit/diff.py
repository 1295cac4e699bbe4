"""What a row of the journal says changed, flat (pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """One value. `before` or `after` is empty where there was none."""

    path: str
    before: str
    after: str

    @property
    def is_change(self) -> bool:
        return self.before != self.after


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        found: dict[str, str] = {}
        for key, child in value.items():
            found |= _flat(child, f"{path}.{key}" if path else str(key))
        return found
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return {path: ", ".join(str(one) for one in value) or "–"}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {path: text}


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """By path, in the order in which they were written; what stayed the same is left out where there is a before."""
    old, new = (_flat(side) if side else {} for side in (before, after))
    rows = [Change(path, old.get(path, ""), new.get(path, "")) for path in dict.fromkeys([*old, *new])]
    return [row for row in rows if row.is_change] if old and new else rows
