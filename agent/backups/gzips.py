"""gzip at the speed of a disk where isal is there, else as zlib does it. Both write and read the same format."""

from __future__ import annotations

import zlib
from typing import Any

try:
    from isal import isal_zlib

    fast: Any = isal_zlib
    FAULTS: tuple[Any, ...] = (zlib.error, isal_zlib.error)
except ImportError:  # no wheel for this machine
    fast, FAULTS = None, (zlib.error,)

_GZIP = zlib.MAX_WBITS | 16


def packer() -> Any:
    """Has `compress(data)` and `flush()`."""
    return fast.compressobj(1, zlib.DEFLATED, _GZIP) if fast is not None else zlib.compressobj(1, zlib.DEFLATED, _GZIP)


class Unpacker:
    """Bytes of a gzip stream in, content out, never more than `most` at a time."""

    def __init__(self) -> None:
        self._inner: Any = self._fresh()
        self.is_over = False

    @staticmethod
    def _fresh() -> Any:
        return fast.decompressobj(_GZIP) if fast is not None else zlib.decompressobj(_GZIP)

    def feed(self, data: bytes, *, most: int) -> tuple[bytes, bytes]:
        """(content, what is left of `data` to be fed again). Raises ValueError if it is no gzip."""
        try:
            content = self._inner.decompress(data, most)
        except FAULTS as error:
            raise ValueError(str(error)) from error
        if self._inner.eof:
            self.is_over = True
            return content, self._inner.unused_data
        return content, self._inner.unconsumed_tail
