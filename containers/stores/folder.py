"""A folder that all workers of the panel reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from containers.stores.base import PIECE_BYTES, StoreFault

FLOOR_BYTES = 256 * 1024 * 1024
"""So much of the disk is never taken: the panel lives on it, too."""
LOOK_BYTES = 32 * 1024 * 1024


def fault(error: OSError) -> StoreFault:
    return StoreFault(f"The folder of backups: {error.strerror or error}.")


class FolderDraft:
    """See `Draft`: a hidden file beside its place, then renamed."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._part = part_of(place)
        self._since_look = LOOK_BYTES
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.fdopen(os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb")
        except OSError as error:
            raise fault(error) from error

    def write(self, data: bytes) -> None:
        try:
            self._since_look += len(data)
            if self._since_look >= LOOK_BYTES:
                self._since_look = 0
                found = os.fstatvfs(self._file.fileno())
                if found.f_bavail * found.f_frsize < FLOOR_BYTES:
                    raise StoreFault("The panel's disk is nearly full: make room there, or use another destination.")
            self._file.write(data)
        except OSError as error:
            raise fault(error) from error

    def commit(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._place)
            sync_folder(self._place.parent)
        except OSError as error:
            raise fault(error) from error

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)


def part_of(place: Path) -> Path:
    return place.with_name(f".{place.name}.part")


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderStore:
    """See `Store`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _place(self, key: str) -> Path:
        parts = key.split("/")
        if not all(parts) or any(part in (".", "..") or part.startswith(".") for part in parts):
            raise StoreFault("This is no name of a backup.")
        return self._folder.joinpath(*parts)

    def begin(self, key: str) -> FolderDraft:
        return FolderDraft(self._place(key))

    def read(self, key: str, *, offset: int = 0, length: int = -1) -> Iterator[bytes]:
        try:
            with self._place(key).open("rb") as file:
                file.seek(offset)
                left = length if length >= 0 else 1 << 62
                while left > 0 and (data := file.read(min(PIECE_BYTES, left))):
                    left -= len(data)
                    yield data
        except FileNotFoundError:
            raise StoreFault("The archive is gone from the folder of backups.") from None
        except OSError as error:
            raise fault(error) from error

    def size(self, key: str) -> int | None:
        try:
            return self._place(key).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise fault(error) from error

    def remove(self, key: str) -> None:
        place = self._place(key)
        try:
            part_of(place).unlink(missing_ok=True)
            place.unlink(missing_ok=True)
            above = place.parent
            while above != self._folder and above.is_dir() and not any(above.iterdir()):
                above.rmdir()
                above = above.parent
        except OSError as error:
            raise fault(error) from error
