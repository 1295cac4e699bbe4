"""Where to go after signing in: only inside of the panel (E15)."""

from __future__ import annotations

from django.utils.http import url_has_allowed_host_and_scheme


def safe_next(text: str | None, *, default: str = "/") -> str:
    """`text` if it is a path of this panel, else `default`. Refuses `//host`, `/\\host`, control characters and whole addresses."""
    if not text or len(text) > 2048 or not text.startswith("/") or text[1:2] in ("/", "\\") or not text.isprintable():
        return default
    return text if url_has_allowed_host_and_scheme(text, allowed_hosts=None) else default
