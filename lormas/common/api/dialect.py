"""The envelope dialect: what `/api/v1/` speaks. No view knows of it; renderer, parser, paginator and exception handler ask here."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from lormas.common import clock

PREFIX: Final = "/api/v1"
OPAQUE: Final = frozenset(
    {
        "labels",
        "variables",
        "env",
        "environment",
        "values",
        "annotations",
        "headers",
        "before",
        "after",
        "docker_images",
        "startup_commands",
        "config",
    }
)
"""Maps whose keys are people's data: never renamed, at any depth below."""
_SNAKE = re.compile(r"^_?[a-z][a-z0-9]*(?:_[a-z0-9]+)+$")
_CAMEL = re.compile(r"^[a-z][A-Za-z0-9]*$")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ID = re.compile(r"^(?:[0-9a-fA-F-]{32,36}|\d+)$")


class Page(dict[str, Any]):
    """The body of a list answer: `{count, page, page_size, total_pages, next, previous, results}`."""


class ProblemBody(dict[str, Any]):
    """The body of an error answer (RFC 9457)."""


def speaks_envelope(path: str) -> bool:
    """Does this path belong to the envelope dialect?"""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


@lru_cache(maxsize=4096)
def camel(name: str) -> str:
    """`memory_bytes` -> `memoryBytes`; other spellings stay."""
    if not _SNAKE.match(name):
        return name
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """`memoryBytes` -> `memory_bytes`; other spellings stay."""
    return _HUMP.sub("_", name).lower() if _CAMEL.match(name) else name


def to_camel(value: Any) -> Any:
    """Rename keys at any depth outside of `OPAQUE` maps."""
    if isinstance(value, dict):
        return {camel(key) if isinstance(key, str) else key: child if key in OPAQUE else to_camel(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [to_camel(child) for child in value]
    return value


def to_snake(value: Any) -> Any:
    """The reverse of `to_camel`, for bodies."""
    if isinstance(value, dict):
        return {snake(key): child if snake(key) in OPAQUE else to_snake(child) for key, child in value.items()}
    if isinstance(value, list):
        return [to_snake(child) for child in value]
    return value


def field_path(path: str) -> str:
    """A dotted field path in the dialect's spelling."""
    return ".".join(camel(part) for part in path.split("."))


def resource_of(path: str) -> str:
    """What a list is called: the last part of the path that is no id."""
    parts = [part for part in path.removeprefix(PREFIX).split("/") if part and not _ID.match(part)]
    return camel(parts[-1].replace("-", "_")) if parts else "results"


def envelope(data: Any, *, status: int, path: str) -> dict[str, Any]:
    """A success body."""
    message = "Created" if status == 201 else "Accepted" if status == 202 else "OK"
    if isinstance(data, Page):
        page, total_pages = data["page"], data["total_pages"]
        pagination = {
            "page": page,
            "limit": data["page_size"],
            "total": data["count"],
            "totalPages": total_pages,
            "hasNext": page < total_pages,
            "hasPrev": page > 1,
        }
        data = {resource_of(path): to_camel(data["results"]), "pagination": pagination}
    else:
        data = to_camel(data)
    return {"success": True, "message": message, "data": data, "timestamp": clock.rfc3339(clock.now()), "statusCode": status}


def problem_envelope(body: dict[str, Any], *, status: int) -> dict[str, Any]:
    """An error body."""
    known = {"type", "title", "status", "detail", "code", "errors"}
    return {
        "success": False,
        "message": body.get("detail") or body.get("title", ""),
        "code": body.get("code", "error"),
        "errors": [{**error, "field": field_path(error["field"])} for error in body.get("errors", [])],
        "timestamp": clock.rfc3339(clock.now()),
        "statusCode": status,
        **to_camel({key: value for key, value in body.items() if key not in known}),
    }
