"""The files of containers for the panel: each question by name, each in a thread of its own pool (a slow disk holds up nobody else)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.files import archives, search, trash, unpack, unpacking
from agent.files.beneath import FileRefused, clean_relative
from agent.files.denylist import Denylist
from agent.files.entries import write_all
from agent.files.quota import Purse
from agent.files.tree import HIDDEN, Shown, Spend, Tree, writable_name
from agent.protocol import files as ask
from agent.runtimes.base import Runtime, RuntimeFailure
from agent.runtimes.inside import Place

T = TypeVar("T")
THREADS = 24
CHUNK_BYTES = 4 * 1024 * 1024
"""What a browser sends at once of a large upload."""
MOST_PATHS = 1000


KERNEL_VIEWS = ("proc", "sys")
"""In a container's whole file system: what looks like files there would be read and written with the agent's rights."""


def _kernel_views(root: Path) -> frozenset[int]:
    """The file systems behind them, so that no link leads there either."""
    found = {Path("/proc").stat().st_dev, Path("/sys").stat().st_dev}
    for name in (*KERNEL_VIEWS, "sys/fs/cgroup", "dev"):
        with contextlib.suppress(OSError):
            at = (root / name).lstat()
            if at.st_dev != root.stat().st_dev:
                found.add(at.st_dev)
    return frozenset(found)


class OpenFiles:
    """One container's files for one question: its tree, what the egg denies, what may still be written."""

    def __init__(self, place: Place, scope: ask.FileScope, purse: Purse) -> None:
        self.place = place
        self.tree = Tree(place.folder)
        self.tree.owner = place.owner
        self.purse = purse
        self._quota = 0 if place.is_whole else scope.quota_bytes
        self._denied = Denylist(scope.denylist)
        if place.still_good is not None and not place.still_good():
            self.tree.close()
            raise FileRefused("not_running", "The container has ended meanwhile.")
        if place.is_whole:
            self.tree.as_root = True
            self.tree.no_devices = _kernel_views(place.folder)

    @property
    def shown(self) -> Shown:
        if self.place.is_whole:
            return lambda path, is_folder: path not in KERNEL_VIEWS and not self._denied.denies(path, is_folder=is_folder)
        return lambda path, is_folder: not self._denied.denies(path, is_folder=is_folder)

    def check(self, *paths: str, is_folder: bool = False) -> None:
        """Raises FileRefused `denied` for what the egg keeps to itself."""
        for path in paths:
            if self.place.is_whole and clean_relative(path).partition("/")[0] in KERNEL_VIEWS:
                raise FileRefused("denied", f"{path} is a view of the kernel, not a file of the container.")
            if self._denied and self._denied.denies(clean_relative(path), is_folder=is_folder):
                raise FileRefused("denied", f"{path} is not to be touched: its egg says so.")

    def check_real(self, path: str) -> None:
        """As `check`, for a path and for what it leads to through links that stay inside."""
        self.check(path)
        if self._denied:
            try:
                self.check(self.tree._real(clean_relative(path)))
            except FileRefused as refused:
                if refused.code not in ("not_found", "not_a_folder"):
                    raise

    def counted(self) -> Purse:
        self.purse.look(self.tree, quota=self._quota)
        return self.purse

    def spend(self, count: int) -> None:
        """Before so many bytes are written; what others wrote meanwhile counts as well. Raises FileRefused `quota_exceeded`, `disk_full`."""
        self.counted().spend(count)


Work = Callable[[OpenFiles, Any], dict[str, Any]]


class FileDesk:
    """Answers `files.*` questions; `opened` serves bulk transfers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="files")
        self._purses: dict[str, Purse] = {}
        self.commits: dict[str, asyncio.Lock] = {}
        works: dict[str, Work] = {
            "list": _list,
            "stat": _stat,
            "create": _create,
            "move": _move,
            "copy": _copy,
            "chmod": _chmod,
            "delete": _delete,
            "trash": _trash,
            "restore": _restore,
            "empty_trash": _empty_trash,
            "compress": _compress,
            "decompress": _decompress,
            "search": _search,
            "usage": _usage,
            "upload_begin": _upload_begin,
            "upload_state": _upload_state,
            "upload_cancel": _upload_cancel,
        }
        self.answers: dict[str, Callable[[str, Any], Awaitable[dict[str, Any]]]] = {
            f"files.{name}": self._in_thread(work) for name, work in works.items()
        }

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def forget(self, container_id: str) -> None:
        self._purses.pop(container_id, None)
        self.commits.pop(container_id, None)

    async def thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """In the pool; FileRefused becomes RuntimeFailure."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        except FileRefused as refused:
            raise RuntimeFailure(refused.code, refused.detail) from refused
        except OSError as error:
            raise RuntimeFailure("disk_full" if error.errno in (28, 122) else "failed", f"The node's disk: {error.strerror or error}") from error

    async def whole(self, work: Callable[[], T], *, stop: Callable[[], None], seconds: float) -> T:
        """As `thread`. Cancelled, it calls `stop` and waits so long for the thread to let go of the folder, which is closed next."""
        working = asyncio.ensure_future(self.thread(work))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            stop()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(seconds):
                    await asyncio.shield(working)
            raise

    async def open(self, container_id: str, scope: ask.FileScope) -> OpenFiles:
        """The caller closes its tree. Raises RuntimeFailure."""
        place = await self._runtime.inside.place(container_id)
        purse = self._purses.setdefault(container_id, Purse())
        return await self.thread(OpenFiles, place, scope, purse)

    def _in_thread(self, work: Work) -> Callable[[str, Any], Awaitable[dict[str, Any]]]:
        async def answer(container_id: str, payload: Any) -> dict[str, Any]:
            opened = await self.open(container_id, payload)
            try:
                return await self.thread(work, opened, payload)
            except RuntimeFailure:
                opened.purse.stale()  # what it had written is gone again
                raise
            finally:
                opened.tree.close()

        return answer


def _plain(found: ask.FileEntry) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(found)
    return {"size": 0, "mode": 0, "modified_at_unix": 0, "etag": "", "target": "", "target_type": "", **made}


def _few(paths: list[Any]) -> None:
    if not paths:
        raise FileRefused("bad_path", "Name at least one path.")
    if len(paths) > MOST_PATHS:
        raise FileRefused("bad_path", f"At most {MOST_PATHS} paths at a time.")


def _list(opened: OpenFiles, asked: ask.FilesList) -> dict[str, Any]:
    path = clean_relative(asked.path)
    opened.check(path, is_folder=True)
    entries, total = opened.tree.listing(path, offset=max(0, asked.offset), limit=max(1, min(asked.limit, 1000)), shown=opened.shown)
    return {
        "path": path,
        "prefix": opened.place.prefix,
        "whole": opened.place.is_whole,
        "entries": [_plain(one) for one in entries],
        "total": total,
    }


def _stat(opened: OpenFiles, asked: ask.FilesStat) -> dict[str, Any]:
    opened.check(asked.path)
    return {"entry": _plain(opened.tree.entry(asked.path))}


def _create(opened: OpenFiles, asked: ask.FilesCreate) -> dict[str, Any]:
    opened.check(asked.path, is_folder=asked.type == "folder")
    opened.spend(4096)
    return {"entry": _plain(opened.tree.create(asked.path, asked.type))}


def _move(opened: OpenFiles, asked: ask.FilesMove) -> dict[str, Any]:
    _few(asked.pairs)
    for pair in asked.pairs:
        opened.check(pair.source, pair.target)
        writable_name(pair.target)
    for pair in asked.pairs:
        opened.check_real(pair.source)
        opened.tree.move(pair.source, pair.target, overwrite=asked.overwrite)
    return {"moved": len(asked.pairs)}


def _copy(opened: OpenFiles, asked: ask.FilesCopy) -> dict[str, Any]:
    _few(asked.pairs)
    for pair in asked.pairs:
        opened.check(pair.source, pair.target)
    return {"copied": [opened.tree.copy(pair.source, pair.target, opened.spend, shown=opened.shown) for pair in asked.pairs]}


def _chmod(opened: OpenFiles, asked: ask.FilesChmod) -> dict[str, Any]:
    _few(asked.paths)
    opened.check(*asked.paths)
    return {"changed": sum(opened.tree.chmod(path, asked.mode, recursive=asked.recursive) for path in asked.paths)}


def _delete(opened: OpenFiles, asked: ask.FilesDelete) -> dict[str, Any]:
    _few(asked.paths)
    for path in asked.paths:
        opened.check(path)
        if not clean_relative(path):
            raise FileRefused("bad_path", "The container's folder itself can't be deleted.")
    forever = asked.forever or opened.place.is_whole
    if asked.kept_seconds > 0 and not opened.place.is_whole:
        trash.purge(opened.tree, kept_seconds=asked.kept_seconds)
    deleted = []
    for path in asked.paths:
        trash_id = ""
        if forever:
            opened.tree.delete(path)
        else:
            trash_id = trash.put(opened.tree, path, by=asked.by)
        deleted.append({"path": clean_relative(path), "trash_id": trash_id})
    opened.purse.stale()
    return {"deleted": deleted}


def _has_hidden(opened: OpenFiles) -> bool:
    try:
        os.close(os.open(HIDDEN, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=opened.tree._root))
    except OSError:
        return False
    return not opened.place.is_whole


def _trash(opened: OpenFiles, asked: ask.TrashList) -> dict[str, Any]:
    if not _has_hidden(opened):
        return {"items": []}
    if asked.kept_seconds > 0:
        trash.purge(opened.tree, kept_seconds=asked.kept_seconds)
    return {"items": list(trash.items(opened.tree))[:1000]}


def _restore(opened: OpenFiles, asked: ask.TrashRestore) -> dict[str, Any]:
    _few(asked.ids)
    return {"restored": [{"id": one, "path": trash.restore(opened.tree, one)} for one in asked.ids]}


def _empty_trash(opened: OpenFiles, asked: ask.TrashEmpty) -> dict[str, Any]:
    gone = trash.empty(opened.tree, asked.ids) if _has_hidden(opened) else 0
    opened.purse.stale()
    return {"gone": gone}


class _FileSink:
    def __init__(self, descriptor: int, spend: Spend) -> None:
        self._descriptor = descriptor
        self._spend = spend

    def write(self, data: bytes, /) -> int:
        self._spend(len(data))
        write_all(self._descriptor, data)
        return len(data)


def _compress(opened: OpenFiles, asked: ask.FilesCompress) -> dict[str, Any]:
    _few(asked.paths)
    opened.check(*asked.paths)
    for path in asked.paths:
        opened.tree.entry(path)
    first = clean_relative(asked.paths[0])
    folder, _, name = first.rpartition("/")
    suggested = f"{name or 'files'}.{asked.format}" if len(asked.paths) == 1 else f"archive.{asked.format}"
    target = writable_name(asked.target) if asked.target else opened.tree.free_name(f"{folder}/{suggested}" if folder else suggested)
    opened.check(target)
    opened.tree.make_folders(target.rpartition("/")[0], owner=opened.tree.owner)
    with _draft(opened, target) as (descriptor, commit):
        archives.PACKERS[asked.format](opened.tree, asked.paths, _FileSink(descriptor, opened.spend), shown=opened.shown)
        commit()
    return {"entry": _plain(opened.tree.entry(target)), "path": target}


@contextmanager
def _draft(opened: OpenFiles, target: str) -> Iterator[tuple[int, Callable[[], None]]]:
    """A new file under a name that is not there yet; gone again unless committed."""
    upload_id = trash.begin_upload(opened.tree, trash.Upload(path=target, size=0))
    try:
        with trash.upload_part(opened.tree, upload_id) as (uploads, part, note):
            yield part, lambda: trash.finish_upload(opened.tree, uploads, upload_id, part, note)
    finally:
        trash.cancel_upload(opened.tree, upload_id)


def _decompress(opened: OpenFiles, asked: ask.FilesDecompress) -> dict[str, Any]:
    path = clean_relative(asked.path)
    target = clean_relative(asked.target) if asked.target else path.rpartition("/")[0]
    opened.check_real(path)
    opened.check(target, is_folder=True)
    left = opened.counted().left()
    with opened.tree.reading(path) as (descriptor, _), unpack.Archive(descriptor, path) as archive:
        files, total = unpack.check(archive, target=target, most_bytes=min(left, unpack.MOST_BYTES), shown=opened.shown)
        unpacking.unpack(opened.tree, archive, target=target, overwrite=asked.overwrite, spend=opened.spend)
    return {"files": files, "bytes": total, "path": target}


def _search(opened: OpenFiles, asked: ask.FilesSearch) -> dict[str, Any]:
    if not asked.query.strip() or len(asked.query) > 200:
        raise FileRefused("bad_path", "Name 1 to 200 characters to look for.")
    opened.check(asked.path, is_folder=True)
    return search.search(
        opened.tree, asked.query.strip(), path=asked.path, content=asked.content, limit=max(1, min(asked.limit, 500)), shown=opened.shown
    )


def _usage(opened: OpenFiles, asked: ask.FilesUsage) -> dict[str, Any]:
    if opened.place.is_whole:
        return {"bytes": 0, "entries": 0, "quota_bytes": 0, "free_bytes": opened.tree.free_bytes()}
    purse = opened.counted()
    return {"bytes": purse.used, "entries": purse.entries, "quota_bytes": asked.quota_bytes, "free_bytes": purse.free}


def _upload_begin(opened: OpenFiles, asked: ask.UploadBegin) -> dict[str, Any]:
    path = writable_name(asked.path)
    if not path or asked.size < 0:
        raise FileRefused("bad_path", "An upload needs a path and a size.")
    opened.check_real(path)
    if asked.size > opened.counted().left():
        opened.purse.spend(asked.size)  # says which limit it is
    try:
        there = opened.tree.entry(path)
    except FileRefused as refused:
        if refused.code != "not_found":
            raise
    else:
        if there.type != "file":
            raise FileRefused("not_a_file", f"{path} is there and is no plain file.")
        if not asked.overwrite:
            raise FileRefused("exists", f"{path} is there already.")
    upload_id = trash.begin_upload(opened.tree, trash.Upload(path=path, size=asked.size, overwrite=asked.overwrite))
    return {"id": upload_id, "path": path, "size": asked.size, "offset": 0, "chunk_bytes": CHUNK_BYTES}


def _upload_state(opened: OpenFiles, asked: ask.UploadState) -> dict[str, Any]:
    with trash.upload_part(opened.tree, asked.id) as (_, part, note):
        return {"id": asked.id, "path": note.path, "size": note.size, "offset": os.fstat(part).st_size, "chunk_bytes": CHUNK_BYTES}


def _upload_cancel(opened: OpenFiles, asked: ask.UploadCancel) -> dict[str, Any]:
    if _has_hidden(opened) or opened.place.is_whole:
        trash.cancel_upload(opened.tree, asked.id)
        opened.purse.stale()
    return {}
