"""Images: is it there, and pulling it with progress over all layers."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from urllib.parse import quote

import msgspec

from agent.protocol.messages import RegistryAuth
from agent.runtimes.base import ProgressCallback, PullProgress, RuntimeFailure
from agent.runtimes.docker import errors
from agent.runtimes.docker.wire import EngineStatus, Wire

SILENCE_SECONDS = 120
"""A registry that sends nothing for so long is given up."""


def split_name(image: str) -> tuple[str, str]:
    """(repository, tag or digest); the tag is `latest` where none is named: never all tags."""
    if "@" in image:
        repository, _, digest = image.partition("@")
        return repository, digest
    head, slash, last = image.rpartition("/")
    name, colon, tag = last.partition(":")
    return head + slash + name, tag if colon else "latest"


async def has(wire: Wire, image: str, *, timeout: float) -> bool:
    try:
        await wire.call("GET", f"/images/{quote(image, safe='/:@')}/json", timeout=timeout)
    except EngineStatus as error:
        if error.status in (404, 400):
            return False
        raise errors.of(error, verb="inspect") from error
    return True


async def identity(wire: Wire, image: str, *, timeout: float) -> str:
    """The id of the image that this name means here; "" if there is none."""
    try:
        found = await wire.call("GET", f"/images/{quote(image, safe='/:@')}/json", timeout=timeout)
    except EngineStatus as error:
        if error.status in (404, 400):
            return ""
        raise errors.of(error, verb="inspect") from error
    return str(found.get("Id", ""))


async def config(wire: Wire, image: str, *, timeout: float) -> dict[str, Any]:
    """What the image says of how it is started. Raises `no_such_image`."""
    try:
        found = await wire.call("GET", f"/images/{quote(image, safe='/:@')}/json", timeout=timeout)
    except EngineStatus as error:
        raise errors.of(error, verb="create") from error
    return dict(found.get("Config") or {})


async def pull(wire: Wire, image: str, *, auth: RegistryAuth | None, progress: ProgressCallback | None, timeout_seconds: float) -> None:
    """Raises `no_such_image`, `pull_failed`, `disk_full`, `timeout`. Closing the connection makes the engine stop pulling."""
    repository, tag = split_name(image)
    headers = {}
    if auth is not None:
        config = {"username": auth.username, "password": auth.password, "serveraddress": auth.server}
        headers["X-Registry-Auth"] = base64.urlsafe_b64encode(msgspec.json.encode(config)).decode()
    query = {"fromImage": repository, "tag": tag}
    try:
        async with asyncio.timeout(timeout_seconds):
            answer = await wire.open("POST", "/images/create", query=query, headers=headers, timeout=min(timeout_seconds, SILENCE_SECONDS))
            try:
                await _follow(answer.chunks(), progress)
            finally:
                answer.close()
    except TimeoutError:
        raise RuntimeFailure("timeout", f"The image was not pulled within {timeout_seconds:g} s.", retryable=True) from None
    except EngineStatus as error:
        raise errors.of(error, verb="pull") from error


async def _follow(chunks: Any, progress: ProgressCallback | None) -> None:
    layers: dict[str, tuple[int, int]] = {}
    rest = b""
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise RuntimeFailure("pull_failed", f"The registry sent nothing for {SILENCE_SECONDS} s.", retryable=True) from None
        if chunk is None:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                _take(msgspec.json.decode(line), layers, progress)


def _take(item: dict[str, Any], layers: dict[str, tuple[int, int]], progress: ProgressCallback | None) -> None:
    if item.get("error"):
        raise errors.translate(500, str(item["error"]), verb="pull")
    layer, status = str(item.get("id", "")), str(item.get("status", ""))
    detail = item.get("progressDetail") or {}
    if layer and status == "Downloading" and detail.get("total"):
        layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
    elif layer in layers and status in ("Download complete", "Pull complete", "Extracting", "Verifying Checksum"):
        layers[layer] = (layers[layer][1], layers[layer][1])
    if progress is not None:
        done, total = sum(done for done, _ in layers.values()), sum(total for _, total in layers.values())
        progress(PullProgress(done_bytes=done, total_bytes=total, message=f"{layer} {status}".strip()[:200]))
