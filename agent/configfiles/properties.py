"""Parser `properties`: Java's. All comments and the order stay; non-ASCII in new values is written as \\uXXXX, which every Java reads."""

from __future__ import annotations

from typing import Any

from agent.configfiles.values import UNCHANGED, ConfigProblem, decode, encode, line_end, text_of, wanted_exactly

MOST_CONTINUED = 500


def _check_continued(text: str) -> None:
    """The reader's cost grows with the square of how many lines are one. Raises ConfigProblem."""
    run = 0
    for line in text.splitlines():
        run = run + 1 if line.endswith("\\") else 0
        if run > MOST_CONTINUED:
            raise ConfigProblem(f"more than {MOST_CONTINUED} of its lines are one")


def apply(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    from javaproperties import PropertiesFile
    from javaproperties.reading import InvalidUEscapeError

    text, encoding, mark = decode(data)
    end = line_end(text)
    if text and not text.endswith(("\n", "\r")):
        text += end
    _check_continued(text)
    try:
        file = PropertiesFile.loads(text)
    except InvalidUEscapeError as error:
        raise ConfigProblem(f"it is not a properties file: {error}") from None
    for key, find in finds:
        current = file.get(key)
        new = wanted_exactly(find, current)
        if new is UNCHANGED or text_of(new) == current:
            continue
        file[key] = text_of(new)
    made = file.dumps()
    if end == "\r\n":
        made = made.replace("\r\n", "\n").replace("\n", "\r\n")
    return encode(made, encoding, mark)
