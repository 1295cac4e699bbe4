"""JSON bodies, read strictly (J06); on `/api/v1/` in the envelope's spelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, Final

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from lormas.common import strictjson
from lormas.common.api import dialect

MAX_BODY_BYTES: Final = 1024 * 1024
"""Unless the view says otherwise by an attribute `max_body_bytes`."""


class BodyTooLarge(APIException):
    """413."""

    status_code = 413
    default_code = "too_large"


class ApiParser(BaseParser):
    """Strict JSON: no NaN, no numbers outside 64 bits, no U+0000, no repeated keys, at most 64 levels."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        context = parser_context or {}
        limit = getattr(context.get("view"), "max_body_bytes", MAX_BODY_BYTES)
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise BodyTooLarge(f"The body is larger than {limit} bytes.")
        try:
            value = strictjson.loads(data, max_bytes=limit)
        except strictjson.NotJson as error:
            if error.code == "empty":
                return {}
            raise ParseError(f"The body is not acceptable JSON: {error}.") from error
        request = context.get("request")
        return dialect.to_snake(value) if request is not None and dialect.speaks_envelope(request.path_info) else value
