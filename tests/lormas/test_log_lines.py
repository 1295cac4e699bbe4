"""What the panel writes about itself."""

from __future__ import annotations

import json
import logging
from typing import Any

from django.conf import settings


def line_of(**record: Any) -> str:
    given = dict(settings.LOGGING["formatters"]["lines"])
    formatter = given.pop("()")(**given)
    text: str = formatter.format(logging.makeLogRecord({"name": "x", "levelname": "INFO", **record}))
    return text


def test_whatever_somebody_typed_is_one_line() -> None:
    """F13, CVE-2026-111211: nobody writes a second line, nor moves the cursor of who reads it."""
    typed = 'eve\r\n{"event": "forged"}\x1b[2J\x85\u2028\u2029\0'
    line = line_of(msg="sign-in of %s", args=(typed,))
    assert line.splitlines() == [line] and line.isprintable()
    assert json.loads(line)["event"] == f"sign-in of {typed}"
