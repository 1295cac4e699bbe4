"""How bad is a line of a log? Told from its text alone (pure)."""

from __future__ import annotations

import re

LEVELS = ("debug", "info", "warn", "error")
_WORDS = {
    "trace": "debug", "debug": "debug", "verbose": "debug", "dbg": "debug",
    "info": "info", "information": "info", "notice": "info", "inf": "info",
    "warn": "warn", "warning": "warn", "wrn": "warn",
    "error": "error", "err": "error", "severe": "error", "critical": "error", "crit": "error", "fatal": "error", "panic": "error", "emerg": "error",
    "alert": "error", "exception": "error",
}  # fmt: skip
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_JSON = re.compile(r'"(?:level|severity|lvl|log\.level)"\s*:\s*"(\w+)"', re.IGNORECASE)
_LOGFMT = re.compile(r"\b(?:level|lvl|severity)=\"?(\w+)", re.IGNORECASE)
_HEAD = re.compile(
    r"(?:^|[\s\[(|/<])(trace|debug|verbose|dbg|information|info|notice|inf|warning|warn|wrn|error|err|severe|critical|crit|fatal|panic|emerg)"
    r"(?=[\s\])|:>,]|$)",
    re.IGNORECASE,
)
_TRACEBACK = re.compile(r"^(?:Traceback \(most recent call last\)|(?:[\w.]+(?:Error|Exception))(?::|$)|Exception in thread|Caused by: )")
HEAD_CHARACTERS = 160
"""Loggers say the level at the beginning; a word further on is part of what is told."""


def detect(text: str) -> str:
    """One of `LEVELS`, or an empty text: the line does not say."""
    plain = _ANSI.sub("", text[:4096])
    for pattern in (_JSON, _LOGFMT):
        if (found := pattern.search(plain)) and (level := _WORDS.get(found[1].lower())):
            return level
    head = plain[:HEAD_CHARACTERS]
    if found := _HEAD.search(head):
        before, after = head[found.start()], head[found.end() :][:1]
        if found[1].isupper() or found.start() == 0 or before in "[(|<" or after == ":":
            return _WORDS[found[1].lower()]
    return "error" if _TRACEBACK.match(plain) else ""


def at_least(text: str, level: str) -> bool:
    """Is it as bad as `level` or worse? Lines that don't say count as info."""
    return LEVELS.index(detect(text) or "info") >= LEVELS.index(level)
