"""Which pages may open our sockets: exactly ours, scheme, host and port (SECURITY F01, M2)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

_DEFAULT_PORT = {"http": 80, "https": 443}


def _triple(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORT or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname.lower(), port or _DEFAULT_PORT[parts.scheme]


def origin_allowed(scope: dict[str, Any]) -> bool:
    """True without an `Origin` header (a script: it has no ambient cookie authority unless it was given one), or with one of ours.

    Ours are PUBLIC_URL, CORS_ORIGINS, and the very address that the request was made to, if that host is allowed.
    """
    headers = {k.lower(): v for k, v in scope.get("headers", [])}
    origin = headers.get(b"origin", b"").decode("latin-1")
    if not origin:
        return b"cookie" not in headers
    asked = _triple(origin)
    if asked is None:
        return False
    ours = {_triple(url) for url in (settings.PUBLIC_URL, *settings.CORS_ALLOWED_ORIGINS)}
    if asked in ours:
        return True
    host = headers.get(b"host", b"").decode("latin-1")
    same = _triple(f"{asked[0]}://{host}")
    return same == asked and asked[1] in {h.strip("[]") for h in settings.ALLOWED_HOSTS} and (asked[0] == "https" or not settings.SECURE)
