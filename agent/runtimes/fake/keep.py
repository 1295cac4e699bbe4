"""Where the fake runtime's containers outlive it: a file of changes, one line each, so that thousands of containers cost no more each than one."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from agent.protocol.messages import ContainerReport, ContainerSpec

SLACK_LINES = 1000


class _Line(msgspec.Struct, omit_defaults=True):
    spec: ContainerSpec | None = None
    report: ContainerReport | None = None
    gone: str = ""


_lines = msgspec.json.Decoder(_Line)


class Keep:
    """`load` first; then say each change. What a kill -9 leaves half written at the end is ignored."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._count = 0
        self._known: dict[str, tuple[ContainerSpec, ContainerReport]] = {}

    def load(self) -> list[tuple[ContainerSpec, ContainerReport]]:
        """What there was. Blocking."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        for text in data.split(b"\n")[:-1]:
            line = _lines.decode(text)
            if line.gone:
                self._known.pop(line.gone, None)
            elif line.report is not None:
                container_id = line.report.container_id
                spec = line.spec or self._known[container_id][0]
                self._known[container_id] = (spec, line.report)
        self._rewrite()
        return list(self._known.values())

    def put(self, spec: ContainerSpec, report: ContainerReport) -> None:
        """A new container, or one that changed."""
        is_new = spec.container_id not in self._known
        self._known[spec.container_id] = (spec, report)
        self._add(_Line(spec=spec if is_new else None, report=report))

    def drop(self, container_id: str) -> None:
        if self._known.pop(container_id, None) is not None:
            self._add(_Line(gone=container_id))

    def _add(self, line: _Line) -> None:
        if self._count > 4 * len(self._known) + SLACK_LINES:
            self._rewrite()
            return
        if self._fd < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(self._fd, msgspec.json.encode(line) + b"\n")
        self._count += 1

    def _rewrite(self) -> None:
        self.close()
        draft = self._path.with_suffix(".tmp")
        draft.write_bytes(b"".join(msgspec.json.encode(_Line(spec=spec, report=report)) + b"\n" for spec, report in self._known.values()))
        draft.replace(self._path)
        self._count = len(self._known)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
