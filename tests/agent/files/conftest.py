"""A container's folder and the desk that serves it, without a runtime behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.files.desk import FileDesk
from agent.files.transfers import Transfers
from agent.protocol import bulk
from agent.protocol import files as ask
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.inside import Place


class Sent:
    """A pipe: what the panel sends, and what it got. `breaks`: the panel goes away after its content."""

    def __init__(self, *pieces: bytes, breaks: bool = False) -> None:
        self.pieces = pieces
        self.breaks = breaks
        self.told: dict[str, Any] = {}
        self.got = bytearray()
        self.largest = 0

    async def head(self, data: dict[str, Any]) -> None:
        self.told = data

    async def send(self, data: bytes) -> None:
        self.largest = max(self.largest, len(data))
        self.got += data

    async def content(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.breaks:
            raise RuntimeFailure("cancelled", "The panel went away before the end.")


class Desk:
    """Asks as the panel does. `folder` is the container's, `outside` is the machine's."""

    def __init__(self, folder: Path, outside: Path) -> None:
        self.folder = folder
        self.outside = outside
        self.scope: dict[str, Any] = {}

        async def place(_: str) -> Place:
            return Place(folder, "/data", None)

        runtime: Any = SimpleNamespace(inside=SimpleNamespace(place=place))
        self.desk = FileDesk(runtime)
        self.transfers = Transfers(self.desk, None)  # type: ignore[arg-type]

    async def aask(self, kind: str, **fields: Any) -> dict[str, Any]:
        payload = msgspec.convert({**self.scope, **fields}, ask.FILE_RPCS[f"files.{kind}"])
        return await self.desk.answers[f"files.{kind}"]("c", payload)

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        return asyncio.run(self.aask(kind, **fields))

    async def acarry(self, kind: str, pipe: Sent | None = None, **fields: Any) -> tuple[dict[str, Any], Sent]:
        pipe = pipe or Sent()
        payload = msgspec.convert({**self.scope, **fields}, bulk.KINDS[f"files.{kind}"])
        return await self.transfers.run(f"files.{kind}", "c", payload, pipe), pipe

    def carry(self, kind: str, pipe: Sent | None = None, **fields: Any) -> tuple[dict[str, Any], Sent]:
        return asyncio.run(self.acarry(kind, pipe, **fields))

    def refused(self, kind: str, pipe: Sent | None = None, **fields: Any) -> str:
        """The code of the refusal; "" = it was done."""
        try:
            if f"files.{kind}" in ask.FILE_RPCS:
                self.ask(kind, **fields)
            else:
                self.carry(kind, pipe, **fields)
        except RuntimeFailure as failure:
            return failure.code
        return ""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"canary")
    (tmp_path / "app10").mkdir()
    (tmp_path / "app10" / "secret").write_bytes(b"canary")
    folder = tmp_path / "app1"
    folder.mkdir()
    made = Desk(folder, outside)
    yield made
    made.desk.close()
    assert (outside / "secret").read_bytes() == b"canary"
    assert (tmp_path / "app10" / "secret").read_bytes() == b"canary"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app1", "app10", "outside"]
