"""What a container's fields may say (pure). Each check raises `ValueError` with a sentence."""

from __future__ import annotations

import re
from typing import Any

from lormas.common.images import is_reference

NAME = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9 _.\-]{0,62}[A-Za-z0-9_.\-])?$")
ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,190}$")
RESERVED_ENV = frozenset({"LD_PRELOAD", "LD_LIBRARY_PATH", "DOCKER_HOST", "PATH"})
LABEL = re.compile(r"^[a-zA-Z0-9](?:[a-zA-Z0-9._/\-]{0,126}[a-zA-Z0-9])?$")
MAX_ENV_VALUE = 32 * 1024
MAX_ENV = 512
MAX_LABELS, MAX_LABEL_VALUE = 64, 1024


def check_name(name: str) -> str:
    """1-64 of letters, digits, space, `_ . -`, beginning with a letter or digit."""
    cleaned = name.strip()
    if not NAME.match(cleaned):
        raise ValueError("Use 1 to 64 letters, digits, spaces, dots, dashes or underscores, beginning with a letter or digit.")
    return cleaned


def check_image(image: str) -> str:
    """An image reference such as `nginx`, `ghcr.io/team/app:1.2` or with `@sha256:…`."""
    cleaned = image.strip()
    if len(cleaned) > 255 or not is_reference(cleaned):
        raise ValueError("This is not an image reference: write it like nginx:1.27 or registry.example.org/team/app:tag.")
    return cleaned


def check_env(env: dict[str, Any]) -> dict[str, str]:
    """At most 512 names as shells know them, values as text without NUL; newlines inside values are fine."""
    if len(env) > MAX_ENV:
        raise ValueError(f"At most {MAX_ENV} variables.")
    checked: dict[str, str] = {}
    for name, value in env.items():
        if not ENV_NAME.match(name):
            raise ValueError(f"{name!r} is not a variable name: use letters, digits and underscores, not beginning with a digit.")
        if name in RESERVED_ENV:
            raise ValueError(f"{name} is reserved.")
        text = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
        text = "" if text is None else str(text)
        if "\x00" in text or len(text.encode()) > MAX_ENV_VALUE:
            raise ValueError(f"The value of {name} holds a NUL byte or is over {MAX_ENV_VALUE} bytes.")
        checked[name] = text
    return checked


def env_from_list(items: list[str]) -> dict[str, Any]:
    """`["K=V", …]` as a map."""
    found: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{item!r} is not of the form NAME=value.")
        found[name] = value
    return found


def check_labels(labels: dict[str, Any]) -> dict[str, str]:
    """At most 64 plain labels; the prefix `lormas.` is ours."""
    if len(labels) > MAX_LABELS:
        raise ValueError(f"At most {MAX_LABELS} labels.")
    checked: dict[str, str] = {}
    for name, value in labels.items():
        if name.lower().startswith("lormas."):
            raise ValueError("Labels that begin with lormas. are reserved.")
        if not LABEL.match(name) or len(str(value)) > MAX_LABEL_VALUE:
            raise ValueError(f"{name!r} is not a label name, or its value is over {MAX_LABEL_VALUE} characters.")
        checked[name] = str(value)
    return checked


def check_exec(command: Any) -> list[str]:
    """argv of an exec: a list as it is (no shell takes part); a line is for the container's own shell, as people write one."""
    if not isinstance(command, str) or not command.strip():
        return check_command(command)
    if "\x00" in command:
        raise ValueError("A command can't hold a NUL character.")
    return ["/bin/sh", "-c", command]


def check_command(command: Any) -> list[str]:
    """argv: a list as it is, or one line split like a shell splits it (nothing is evaluated)."""
    import shlex

    if command in (None, "", []):
        return []
    if isinstance(command, str):
        if "\x00" in command:
            raise ValueError("A command can't hold a NUL character.")
        try:
            return shlex.split(command)
        except ValueError as error:
            raise ValueError(f"The command line can't be split: {error}.") from None
    if not isinstance(command, list) or not all(isinstance(part, str) and "\x00" not in part for part in command):
        raise ValueError("A command is a line of text or a list of texts.")
    return list(command)
