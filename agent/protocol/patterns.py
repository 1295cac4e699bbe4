"""What people may look for in logs: plain text, or `regex:` and a pattern. One rule for the node that looks and for the panel that keeps it."""

from __future__ import annotations

import re

REGEX = "regex:"
MAX_PATTERN = 500


class BadPattern(ValueError):
    """The text says what is wrong with it."""


def check_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern without its `regex:`. Raises BadPattern. (One that is merely slow is stopped by the time limit of the process that uses it.)"""
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"The pattern is longer than {MAX_PATTERN} characters.")
    try:
        return re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadPattern(f"Not a pattern: {error}") from None


def check_search(search: str) -> None:
    """Text or `regex:` and a pattern, as people give it. Raises BadPattern."""
    if search.startswith(REGEX):
        check_pattern(search.removeprefix(REGEX))
