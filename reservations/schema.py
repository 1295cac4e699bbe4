"""What drf-spectacular can't see by itself."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class KeyAsPasswordScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """HTTP Basic for calendar programs."""

    target_class = "reservations.api.authentication.KeyAsPassword"
    name = "keyAsPassword"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "basic", "description": "Any name, and an API key as the password."}
