"""What a store can do. Everything blocks: call it in a thread. Keys are ours: `containers/<id>/<id>.tar.gz`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Protocol

PIECE_BYTES = 1024 * 1024


class StoreFault(Exception):
    """It did not work; `detail` is for a person, and holds no secret."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Draft(Protocol):
    """An object being written. It can't be seen under its key before `commit`."""

    def write(self, data: bytes) -> None: ...

    def commit(self) -> None:
        """All of it is there now, under its key, and would survive a power cut."""

    def discard(self) -> None:
        """Nothing of it is left. No-op after `commit` or `discard`."""


class Store(Protocol):
    """Raises StoreFault from all its acts."""

    def begin(self, key: str) -> Draft: ...

    def read(self, key: str, *, offset: int = 0, length: int = -1) -> Iterator[bytes]:
        """Pieces of at most `PIECE_BYTES`; -1: to the end."""

    def size(self, key: str) -> int | None:
        """None: there is none."""

    def remove(self, key: str) -> None:
        """With all that a broken write has left of it. Already gone is success."""


def probe(store: Store) -> None:
    """Write, read and remove something small. Raises StoreFault."""
    key, content = f"lormas-test-{secrets.token_hex(8)}", secrets.token_bytes(64)
    draft = store.begin(key)
    try:
        draft.write(content)
        draft.commit()
    except BaseException:
        draft.discard()
        raise
    try:
        if b"".join(store.read(key)) != content:
            raise StoreFault("What was written came back as something else.")
    finally:
        store.remove(key)
    if store.size(key) is not None:
        raise StoreFault("What was removed is still there.")
