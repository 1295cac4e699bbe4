"""Egg files as request bodies: bytes, not values; `eggs.formats` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from eggs.formats.reading import MAX_BYTES
from lormas.common.api.parsers import BodyTooLarge


class RawFile(BaseParser):
    """Any type that is no form."""

    media_type = "*/*"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> bytes:  # type: ignore[override]
        data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BodyTooLarge(f"An egg is at most {MAX_BYTES} bytes.")
        return data
