"""Files of a container's `data` volume: through the volume's folder where this machine can reach it, else through the engine's archives.

The folder is exact and safe (openat2, atomic). Archives work with engines elsewhere: the engine resolves links inside of the container, and a
write there is one file of one uncompressed tar (SECURITY B11, M11).
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from agent.files import Beneath, Content, FileRefused, clean_relative
from agent.files.tree import Tree
from agent.runtimes.base import CONTAINER_GID, CONTAINER_UID, RuntimeFailure
from agent.runtimes.docker import errors, options
from agent.runtimes.docker.lifecycle import Lifecycle
from agent.runtimes.docker.surroundings import Surroundings
from agent.runtimes.docker.wire import EngineStatus, Wire

T = TypeVar("T")
FindItem = Callable[[str], Awaitable[dict[str, Any] | None]]
HELPER_TARGET = "/mnt/data"
OWN_SECONDS = 600.0
TAR_SLACK = 16 * 1024


class DockerData:
    """See `agent.runtimes.base.DataFolder`."""

    def __init__(self, wire: Wire, lifecycle: Lifecycle, find: FindItem, surroundings: Surroundings, *, timeout: float) -> None:
        self._surroundings = surroundings
        self._wire = wire
        self._lifecycle = lifecycle
        self._find = find
        self._timeout = timeout
        self._reach_folders = wire.endpoint.is_local

    # --------------------------------------------------------------------------------------------------------------- folder

    async def _volume(self, container_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._wire.call("GET", f"/volumes/{options.volume_name(container_id)}", timeout=self._timeout)
        except EngineStatus as error:
            if error.status == 404:
                return None
            raise errors.of(error, verb="volume") from error
        return found

    async def _in_folder(self, container_id: str, work: Callable[[Beneath], T]) -> tuple[T] | None:
        """`work` on the volume's folder, in a thread; None if it can't be reached from here."""
        if not self._reach_folders:
            return None
        volume = await self._volume(container_id)
        if volume is None:
            raise FileRefused("not_found", "The container has no folder of its own on this node.")
        place = Path(str(volume.get("Mountpoint") or ""))
        if not place.is_absolute():
            return None

        def run() -> tuple[T] | None:
            try:
                beneath = Beneath(place)
            except OSError:
                return None
            with beneath:
                return (work(beneath),)

        return await asyncio.to_thread(run)

    async def usage(self, container_id: str) -> int | None:
        """Bytes that the folder takes on the disk, 0 where there is none; None where it can't be reached from here."""
        if not self._reach_folders:
            return None
        volume = await self._volume(container_id)
        if volume is None:
            return 0
        place = Path(str((volume or {}).get("Mountpoint") or ""))

        def walk() -> int | None:
            try:
                tree = Tree(place)
            except OSError:
                return None
            with tree:
                return tree.usage()[0]

        return await asyncio.to_thread(walk) if place.is_absolute() else None

    # -------------------------------------------------------------------------------------------------------------- archive

    async def _place(self, container_id: str) -> tuple[str, str]:
        """(the engine's id, where the volume is mounted)."""
        item = await self._find(container_id)
        if item is None:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        name = options.volume_name(container_id)
        for mount in item.get("Mounts") or []:
            if mount.get("Name") == name:
                return str(item["Id"]), str(mount["Destination"]).rstrip("/")
        raise FileRefused("not_found", "The container has no folder of its own.")

    async def _fetch(self, ref: str, path: str, *, max_bytes: int) -> bytes | None:
        try:
            answer = await self._wire.open("GET", f"/containers/{ref}/archive", query={"path": path}, timeout=self._timeout)
        except EngineStatus as error:
            if error.status == 404:
                return None
            raise errors.of(error, verb="archive") from error
        try:
            data = bytearray()
            async with asyncio.timeout(self._timeout):
                async for chunk in answer.chunks():
                    data += chunk
                    if len(data) > max_bytes + TAR_SLACK:
                        raise FileRefused("too_large", f"{path} is larger than {max_bytes} bytes.")
        except TimeoutError:
            raise RuntimeFailure("timeout", "The engine did not hand out the file in time.", retryable=True) from None
        finally:
            answer.close()
        return bytes(data)

    async def _entry(self, ref: str, root: str, path: str, *, max_bytes: int) -> Content | None:
        data = await self._fetch(ref, f"{root}/{path}", max_bytes=max_bytes)
        if data is None:
            return None
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                member = archive.next()
                if member is None or not member.isreg():
                    what = "a link" if member is not None and member.issym() else "not a plain file"
                    raise FileRefused("outside" if member is not None and member.issym() else "not_a_file", f"{path} is {what}.")
                body = archive.extractfile(member)
                return Content(body.read(max_bytes + 1) if body else b"", member.mode & 0o777, member.uid, member.gid)
        except tarfile.TarError as error:
            raise RuntimeFailure("engine_error", f"The engine's archive can't be read: {error}", retryable=True) from error

    async def _exists(self, ref: str, path: str) -> bool:
        try:
            answer = await self._wire.open("HEAD", f"/containers/{ref}/archive", query={"path": path}, timeout=self._timeout)
        except EngineStatus as error:
            if error.status == 404:
                return False
            raise errors.of(error, verb="archive") from error
        answer.close()
        return True

    # ---------------------------------------------------------------------------------------------------------------- verbs

    async def read(self, container_id: str, path: str, *, max_bytes: int) -> Content | None:
        path = clean_relative(path)
        try:
            found = await self._in_folder(container_id, lambda root: root.read(path, max_bytes=max_bytes))
        except FileRefused as refused:
            if refused.code == "not_found":
                return None
            raise
        if found is not None:
            return found[0]
        ref, root = await self._place(container_id)
        content = await self._entry(ref, root, path, max_bytes=max_bytes)
        if content is not None and len(content.data) > max_bytes:
            raise FileRefused("too_large", f"{path} is larger than {max_bytes} bytes.")
        return content

    async def write(self, container_id: str, path: str, data: bytes, *, owner: tuple[int, int] | None = None) -> None:
        path = clean_relative(path)
        if await self._in_folder(container_id, lambda root: root.write(path, data, owner=owner)) is not None:
            return
        ref, root = await self._place(container_id)
        there = await self._entry(ref, root, path, max_bytes=0) if await self._exists(ref, f"{root}/{path}") else None
        parts = path.split("/")
        made = ["/".join(parts[:count]) for count in range(1, len(parts)) if not await self._exists(ref, f"{root}/{'/'.join(parts[:count])}")]
        archive = _tar(path, data, made, mode=there.mode if there else 0o644, owner=(there.uid, there.gid) if there else owner or (0, 0))

        def put(api: Any) -> Any:
            return api.put_archive(ref, root or "/", archive)

        await self._lifecycle.run("archive", put, timeout=self._timeout)

    async def own(self, container_id: str, *, image: str, always: bool = False) -> None:
        def work(root: Beneath) -> int:
            top = root.stat("")
            if not always and top is not None and (top.st_uid, top.st_gid) == (CONTAINER_UID, CONTAINER_GID):
                return 0
            return root.own(CONTAINER_UID, CONTAINER_GID)

        if await self._in_folder(container_id, work) is not None:
            return
        if always or await self._owner(*await self._place(container_id)) != (CONTAINER_UID, CONTAINER_GID):
            await self._own_by_helper(container_id, image)

    async def _owner(self, ref: str, root: str) -> tuple[int, int] | None:
        """Whose the folder is: its archive begins with it, the rest is not fetched."""
        try:
            answer = await self._wire.open("GET", f"/containers/{ref}/archive", query={"path": f"{root}/."}, timeout=self._timeout)
        except EngineStatus as error:
            raise errors.of(error, verb="archive") from error
        head = b""
        try:
            async with asyncio.timeout(self._timeout):
                async for chunk in answer.chunks():
                    head += chunk
                    if len(head) >= tarfile.BLOCKSIZE:
                        break
            top = tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        except (TimeoutError, tarfile.TarError):
            return None
        finally:
            answer.close()
        return top.uid, top.gid

    async def clear(self, container_id: str) -> None:
        """A helper that an agent which died left behind would hold the volume."""
        if self._reach_folders:
            return
        try:
            await self._lifecycle.run("remove", lambda api: api.remove_container(_helper(container_id), v=False, force=True), timeout=self._timeout)
        except RuntimeFailure as failure:
            if failure.code != "no_such_container":
                raise

    async def _own_by_helper(self, container_id: str, image: str) -> None:
        """A container that does nothing but `chown`; for engines whose folders are not here. Its name keeps it the only one."""
        await self.clear(container_id)
        body = {
            "Image": image,
            "User": "0:0",
            "Entrypoint": ["chown"],
            "Cmd": ["-R", "-h", f"{CONTAINER_UID}:{CONTAINER_GID}", HELPER_TARGET],
            "Labels": {options.LABEL_MANAGED: "1", "lormas.helper": container_id},
            "HostConfig": {
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "CapAdd": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": 16,
                "Memory": 64 << 20,
                "ReadonlyRootfs": True,
                "Mounts": [{"Type": "volume", "Source": options.volume_name(container_id), "Target": HELPER_TARGET}],
            },
        }
        made = await self._lifecycle.run(
            "create", lambda api: api.create_container_from_config(body, name=_helper(container_id)), timeout=self._timeout
        )
        ref = str(made["Id"])
        try:
            await self._lifecycle.run("start", lambda api: api.start(ref), timeout=self._timeout)
            ended = await self._wire.call("POST", f"/containers/{ref}/wait", query={"condition": "not-running"}, timeout=OWN_SECONDS)
            if ended.get("StatusCode"):
                raise RuntimeFailure("engine_error", f"The helper that gives the data to its user ended with {ended.get('StatusCode')}.")
        except EngineStatus as error:
            raise errors.of(error, verb="wait") from error
        finally:
            await self._lifecycle.run("remove", lambda api: api.remove_container(ref, v=False, force=True), timeout=self._timeout)

    async def folder(self, container_id: str) -> Path | None:
        volume = await self._volume(container_id)
        if volume is None:
            return None
        place = Path(str(volume.get("Mountpoint") or ""))
        if not self._reach_folders or not place.is_absolute() or not await asyncio.to_thread(place.is_dir):
            raise RuntimeFailure(
                "unsupported", "The agent can't reach the engine's volumes: run it on the same machine as root, or mount them into it."
            )
        return place

    async def make(self, container_id: str) -> Path:
        await self._surroundings.ensure_volume(container_id)
        place = await self.folder(container_id)
        if place is None:
            raise RuntimeFailure("engine_error", "The engine made a volume and does not know it.", retryable=True)
        return place

    async def gateway(self) -> str:
        try:
            found = await self._wire.call("GET", f"/networks/{options.NETWORK}", timeout=self._timeout)
        except EngineStatus as error:
            raise errors.of(error, verb="network") from error
        for config in (found.get("IPAM") or {}).get("Config") or []:
            if config.get("Gateway"):
                return str(config["Gateway"]).partition("/")[0]
        raise RuntimeFailure("engine_error", "The containers' network has no gateway.")


def _helper(container_id: str) -> str:
    return f"lormas-{container_id}-owner"


def _tar(path: str, data: bytes, folders: list[str], *, mode: int, owner: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            entry.uid, entry.gid = owner
            archive.addfile(entry)
        file = tarfile.TarInfo(path)
        file.size, file.mode = len(data), mode & 0o777
        file.uid, file.gid = owner
        archive.addfile(file, io.BytesIO(data))
    return out.getvalue()
