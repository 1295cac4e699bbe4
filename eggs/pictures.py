"""Pictures of eggs: only what a browser can show and nothing can run in; told by their first bytes, not by what a file says of them (H01, H06)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

MAX_BYTES: Final = 300_000
_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_KINDS: Final = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"), (b"GIF89a", "image/gif"))


def kind_of(data: bytes) -> str:
    """`image/png` ..., or empty. SVG is none: it can carry script."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _KINDS if data.startswith(magic)), "")


def read(url: str) -> tuple[str, bytes] | None:
    """(media type, bytes) of a data: URL of a picture, or None."""
    found = _DATA_URL.match(url)
    if found is None or len(url) > MAX_BYTES * 4 // 3 + 100:
        return None
    try:
        data = base64.b64decode("".join(url[found.end() :].split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    kind = kind_of(data)
    return (kind, data) if kind and len(data) <= MAX_BYTES else None


def sanitised(url: str) -> str:
    """The same picture as we write it, or an empty text if it is none."""
    found = read(url)
    return f"data:{found[0]};base64,{base64.b64encode(found[1]).decode()}" if found else ""
