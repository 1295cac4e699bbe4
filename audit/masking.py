"""What must never be written down, by key and by value (I02)."""

from __future__ import annotations

import math
import re
from typing import Any, Final

MASK: Final = "***"
_KEYS: Final = re.compile(
    r"pass(word|wd|phrase|code)?$|passw|pwd|token|secret|private_?key|api_?key|access_?key|credential|authorization|cookie|session_?key|recovery|totp|dsn$",
    re.IGNORECASE,
)
_ENV: Final = re.compile(r"pass|pwd|token|secret|key|auth|cred|dsn|cert|license|salt|signature|webhook", re.IGNORECASE)
"""Names of environment variables: their values are a stranger's, so in doubt they are hidden."""
_MAPS: Final = frozenset({"env", "environment", "variables", "values"})
_VALUES: Final = (
    re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"),  # a JWT
    re.compile(r"\blor_[A-Za-z0-9]{16,}"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bxox[abprs]-[\w-]{10,}|\bAKIA[A-Z0-9]{16}\b|\bwhsec_[\w+/=-]{16,}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)
_AFTER: Final = (
    re.compile(r"((?:^|[\s\"'])--?[\w-]*(?:pass|token|secret|key|pwd)[\w-]*(?:=|\s+))(\S+)", re.IGNORECASE),  # an option's value
    re.compile(r"(\b[\w-]*(?:password|passwd|secret|token|api_?key)[\w-]*\s*[=:]\s*)(\S+)", re.IGNORECASE),
    re.compile(r"(\b(?:Bearer|Basic)\s+)([\w.~+/=-]{8,})", re.IGNORECASE),
    re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(?=@)", re.IGNORECASE),  # a password in an address
)


def masked_text(text: str) -> str:
    """The text, with everything that looks like a secret replaced."""
    for pattern in _VALUES:
        text = pattern.sub(MASK, text)
    for pattern in _AFTER:
        text = pattern.sub(lambda found: found[1] + MASK, text)
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def masked(values: dict[str, Any] | None) -> dict[str, Any]:
    """A copy with plain values only, secrets replaced at any depth: those under a telling key, and those that look like one."""

    def walk(value: Any, key: str, *, in_map: bool = False) -> Any:
        if (_KEYS.search(key) or (in_map and _ENV.search(key))) and not isinstance(value, bool | int | float):
            return MASK if value not in (None, "", [], {}) else value
        if isinstance(value, dict):
            return {masked_text(str(k))[:255]: walk(v, str(k), in_map=in_map or key.lower() in _MAPS) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
            return [walk(v, "", in_map=in_map) for v in items]
        if isinstance(value, str):
            return masked_text(value)
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # JSON has no such number
        return value if isinstance(value, int | float | bool | type(None)) else masked_text(str(value))

    return {key: walk(value, key) for key, value in (values or {}).items()}
