"""Configuration files that an egg rewrites before each start: bytes and finds in, bytes out. Pure; the libraries are imported when needed.

Content is never lost: what can't be read, or would come out different in a place that nobody asked to change, is a `ConfigProblem` and the
file stays as it is. Comments, order and line ends stay.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from agent.configfiles.values import ConfigProblem

PARSERS: dict[str, str] = {
    "properties": "agent.configfiles.properties:apply",
    "file": "agent.configfiles.lines:apply",
    "json": "agent.configfiles.trees:apply_json",
    "yaml": "agent.configfiles.trees:apply_yaml",
    "toml": "agent.configfiles.trees:apply_toml",
    "ini": "agent.configfiles.ini:apply",
    "xml": "agent.configfiles.markup:apply",
}

MOST_BYTES: dict[str, int] = {"file": 16 << 20, "yaml": 128 << 10, "toml": 512 << 10}
"""What is read within `worker.CPU_SECONDS` with room to spare. The readers of YAML and TOML that keep comments take 9 and 2.3 s for a megabyte."""
MOST_BYTES_ELSE = 4 << 20

Finds = list[tuple[str, Any]]


def limit_of(parser: str) -> int:
    """The largest file that this parser takes."""
    return MOST_BYTES.get(parser, MOST_BYTES_ELSE)


def rewrite(parser: str, data: bytes, finds: Finds) -> bytes:
    """The file with its changes.

    Raises:
        ConfigProblem: in words for the container's log; nothing is to be written then.
    """
    if len(data) > limit_of(parser):
        raise ConfigProblem(f"it is larger than {limit_of(parser) >> 10} KB, which is the most for {parser} files")
    module, _, name = PARSERS[parser].partition(":")
    work: Callable[[bytes, Finds], bytes] = getattr(import_module(module), name)
    try:
        return work(data, finds)
    except RecursionError:
        raise ConfigProblem("it is nested too deeply") from None
    except UnicodeError as error:
        raise ConfigProblem(f"its text can't be read ({error})") from None


__all__ = ["PARSERS", "ConfigProblem", "Finds", "limit_of", "rewrite"]
