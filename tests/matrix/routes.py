"""All routes of the panel, and the literal table of what each answers to whom (`*.txt` beside this file)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from lormas.common.wires import wired

FOLDER = Path(__file__).parent
COLUMNS = ("anonymous", "stranger", "viewer", "member", "operator", "administrator", "node", "key", "expired")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
VARIANTS = {
    "plural": tuple(f"{name}s" for name in wired("GRANTS")),
    "action": ("start", "stop", "restart", "kill", "pause", "unpause"),
}
"""Parts of an address on which rights depend: each value has lines of its own, `name/value`."""


@dataclass(frozen=True, slots=True)
class Route:
    """One address."""

    name: str
    """`containers-detail` (API), `containers:detail` (page), `/readyz` where it has no name; with `/value` for a variant."""
    path: str
    params: tuple[str, ...]
    given: tuple[tuple[str, str], ...]
    view: Any
    """The same for two routes that are one door."""
    methods: tuple[str, ...]
    """What it may answer to; of a page, what to ask."""

    @property
    def is_api(self) -> bool:
        return self.path.startswith("api/")


@dataclass(frozen=True, slots=True)
class Line:
    """What a route answers to a method."""

    file: str
    route: str
    method: str
    codes: tuple[int, ...]
    body: dict[str, Any] | None


def _view(callback: Any) -> Any:
    cls = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
    if cls is None:
        return callback
    return cls, repr(getattr(callback, "initkwargs", None) or getattr(callback, "view_initkwargs", {})), repr(getattr(callback, "actions", None))


def _walk(patterns: Any, prefix: str, namespace: str) -> Iterator[tuple[str, str, URLPattern]]:
    for one in patterns:
        path = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _walk(one.url_patterns, path, f"{namespace}{one.namespace}:" if one.namespace else namespace)
        elif isinstance(one, URLPattern):
            yield f"{namespace}{one.name or ''}", path, one


def _methods(callback: Any) -> tuple[str, ...]:
    cls, actions = getattr(callback, "cls", None) or getattr(callback, "view_class", None), getattr(callback, "actions", None)
    if cls is None:
        return ("GET", "POST")
    return tuple(method for method in METHODS if (method.lower() in actions if actions else hasattr(cls, method.lower())))


def routes() -> list[Route]:
    """Every address but Django's admin (one door of its own: tests/accounts/test_settings_pages.py) and the static files."""
    found = []
    for full, path, pattern in _walk(get_resolver().url_patterns, "", ""):
        if path.startswith("admin/"):
            continue
        params = tuple(sorted({*re.findall(r"\?P<(\w+)>", path), *re.findall(r"<(?:\w+:)?(\w+)>", re.sub(r"\(\?P<\w+>", "(", path))}))
        variant = next((one for one in params if one in VARIANTS), None)
        short = full.removeprefix("api-v1:").removeprefix("api:")
        name = f"/{path}" if not short or short.endswith(":") else short
        for value in VARIANTS[variant] if variant else ("",):
            given = ((variant, value),) if variant else ()
            found.append(
                Route(f"{name}/{value}" if value else name, path, params, given, (_view(pattern.callback), given), _methods(pattern.callback))
            )
    return found


def lines() -> list[Line]:
    """The table. A line: route, method, a code a column, and where it needs one a body as JSON after `|`."""
    found = []
    for path in sorted(set(FOLDER.glob("*.txt")) - {FOLDER / "sockets.txt"}):
        for number, text in enumerate(path.read_text().splitlines(), 1):
            if not text.strip() or text.startswith("#"):
                continue
            head, _, body = text.partition("|")
            words = head.split()
            assert len(words) == 2 + len(COLUMNS), f"{path.name}:{number}: a line is a route, a method and {len(COLUMNS)} codes"
            given = json.loads(body) if body.strip() else None
            found.append(Line(path.stem, words[0], words[1], tuple(int(word) for word in words[2:]), given))
    return found


def line(route: str, method: str, codes: tuple[int, ...], body: dict[str, Any] | None) -> str:
    """As it stands in a file."""
    said = f"{route:<34} {method:<6} {' '.join(map(str, codes))}"
    return f"{said} | {json.dumps(body)}" if body else said
