"""The grammar of image references (distribution's): `[host[:port]/]path[:tag][@digest]`, path in lower case."""

from __future__ import annotations

import re
from typing import Final

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?\Z")


def is_reference(text: str) -> bool:
    """Is it an image reference? Strict (C08): no blanks, no leading dash, at most 255 characters."""
    return len(text) <= 255 and _REFERENCE.match(text) is not None
