"""What must survive the agent's death: accepted commands, their results, facts not yet acknowledged, sequence numbers.

SQLite in the data folder (0600), WAL, used by one thread. Every commit survives the agent's death; only accepting a command also waits for the
disk (a few milliseconds each), because the panel is told to rely on it. What a power cut may take back is made good at the next start: unfinished
commands go on from what the engine shows, and after a reboot sequence numbers leave a gap, so that none is given twice.

Registry credentials are not stored: a command that needs them and has not reached the engine is forgotten at a restart, and the panel sends it again.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.protocol.messages import Command, ContainerReport, Result, StateFact

KEEP_SETTLED_SECONDS = 24 * 3600.0
KEEP_REMOVED_SECONDS = 30 * 24 * 3600.0
REBOOT_GAP = 1000
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS commands (
  position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, container_id TEXT NOT NULL, frame BLOB, stripped INTEGER NOT NULL,
  state TEXT NOT NULL, deadline REAL NOT NULL, received REAL NOT NULL, running REAL NOT NULL DEFAULT 0, result BLOB, settled REAL,
  acked INTEGER NOT NULL DEFAULT 0, started_before TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS containers (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, report BLOB, changed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS facts (container_id TEXT PRIMARY KEY, fact_id INTEGER NOT NULL, report BLOB NOT NULL);
"""

_command = msgspec.json.Decoder(Command)
_result = msgspec.json.Decoder(Result)
_report = msgspec.json.Decoder(ContainerReport)


@dataclass(slots=True, eq=False)
class Entry:
    """A command as the journal has it. `deadline_unix` is in this machine's time; `running_at_unix` 0 = it was not begun.

    `started_before`: when the engine last started the container before this command was begun. If that has changed after a death, the start is done.
    """

    command: Command
    deadline_unix: float
    received_at_unix: float
    running_at_unix: float = 0
    started_before: str = ""
    stripped: bool = False
    recovered: bool = False
    settled: bool = False
    result: Result | None = None
    ending: asyncio.Task[None] | None = None
    """Writes its result, once it has one (`agent.dispatcher`)."""


@dataclass(slots=True)
class Known:
    """What was last reported of a container."""

    seq: int
    epoch: int
    report: ContainerReport | None


def _signature(report: ContainerReport) -> bytes:
    """All of a report that makes it news."""
    return msgspec.json.encode(msgspec.structs.replace(report, seq=0, cause="", last_log_seq=0))


class Outbox:
    """The journal. Every method is a coroutine that returns when it is on disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        self._db: sqlite3.Connection | None = None
        self._known: dict[str, Known] = {}

    async def _do(self, job: Callable[[sqlite3.Connection], T], *, to_disk: bool = False) -> T:
        def run() -> T:
            assert self._db is not None, "the outbox is not open"
            if to_disk:
                self._db.execute("PRAGMA synchronous=FULL")
            try:
                with self._db:
                    return job(self._db)
            finally:
                if to_disk:
                    self._db.execute("PRAGMA synchronous=NORMAL")

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    async def open(self) -> None:
        def run() -> dict[str, Known]:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
            db = sqlite3.connect(self._file, isolation_level="IMMEDIATE", check_same_thread=False)
            db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000;" + _SCHEMA)
            self._db = db
            rows = db.execute("SELECT id, seq, epoch, report FROM containers").fetchall()
            return {i: Known(seq, epoch, _report.decode(report) if report else None) for i, seq, epoch, report in rows}

        self._known = await asyncio.get_running_loop().run_in_executor(self._thread, run)
        await self.purge()

    async def close(self) -> None:
        def run() -> None:
            if self._db is not None:
                self._db.close()
                self._db = None

        await asyncio.get_running_loop().run_in_executor(self._thread, run)
        self._thread.shutdown(wait=False)

    async def purge(self) -> None:
        """Forget settled commands after 24 h, removed containers after 30 days."""
        now = time.time()

        def job(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM commands WHERE acked = 1 AND settled < ?", (now - KEEP_SETTLED_SECONDS,))
            gone = [i for i, known in self._known.items() if known.report is not None and known.report.state == "removed"]
            for container_id in gone:
                old = db.execute("DELETE FROM containers WHERE id = ? AND changed < ?", (container_id, now - KEEP_REMOVED_SECONDS)).rowcount
                if old:
                    self._known.pop(container_id, None)

        await self._do(job)

    # ------------------------------------------------------------------------------------------------------------ commands

    async def accept(self, command: Command, *, deadline_unix: float) -> Entry | None:
        """Write a command down. Returns None if it is new; else what is known of it, and nothing changes."""
        payload = dict(command.payload)
        stripped = payload.pop("registry_auth", None) is not None
        frame = msgspec.json.encode(msgspec.structs.replace(command, payload=payload))

        def job(db: sqlite3.Connection) -> Entry | None:
            row = db.execute("SELECT * FROM commands WHERE id = ?", (command.id,)).fetchone()
            if row is not None:
                return _entry(row)
            db.execute(
                "INSERT INTO commands (id, container_id, frame, stripped, state, deadline, received) VALUES (?, ?, ?, ?, 'accepted', ?, ?)",
                (command.id, command.container_id, frame, stripped, deadline_unix, time.time()),
            )
            return None

        return await self._do(job, to_disk=True)

    async def mark_running(self, command_id: str, *, started_before: str = "") -> None:
        """It is about to reach the engine. `started_before` is the container's start time as the engine tells it now."""
        await self._do(
            lambda db: (
                db.execute(
                    "UPDATE commands SET state = 'running', running = ?, started_before = ? WHERE id = ?", (time.time(), started_before, command_id)
                )
                and None
            )
        )

    async def settle(self, result: Result) -> None:
        """Keep the result until it is acknowledged; the payload is wiped."""
        data = msgspec.json.encode(result)
        await self._do(
            lambda db: (
                db.execute(
                    "UPDATE commands SET state = 'done', frame = NULL, result = ?, settled = ? WHERE id = ? AND state != 'done'",
                    (data, time.time(), result.command_id),
                )
                and None
            )
        )

    async def acknowledged(self, command_id: str) -> None:
        """The panel has the result. The id stays for 24 h, so that a late repeat is known."""
        await self._do(lambda db: db.execute("UPDATE commands SET acked = 1 WHERE id = ? AND state = 'done'", (command_id,)) and None)

    async def forget(self, command_id: str) -> None:
        """As if it had never come: the panel will send it again."""
        await self._do(lambda db: db.execute("DELETE FROM commands WHERE id = ?", (command_id,)) and None)

    async def open_commands(self) -> list[Entry]:
        """Accepted or begun, in the order they came."""
        rows = await self._do(lambda db: db.execute("SELECT * FROM commands WHERE state != 'done' ORDER BY position").fetchall())
        return [_entry(row) for row in rows]

    async def unacknowledged_results(self) -> list[Result]:
        rows = await self._do(lambda db: db.execute("SELECT result FROM commands WHERE state = 'done' AND acked = 0 ORDER BY position").fetchall())
        return [_result.decode(row[0]) for row in rows]

    async def known_commands(self) -> list[str]:
        """Ids whose results are not yet acknowledged, for the hello."""
        rows = await self._do(lambda db: db.execute("SELECT id FROM commands WHERE acked = 0 ORDER BY position").fetchall())
        return [row[0] for row in rows]

    # --------------------------------------------------------------------------------------------------------------- facts

    def known(self, container_id: str) -> Known | None:
        return self._known.get(container_id)

    def known_containers(self) -> dict[str, Known]:
        """Those not known as removed."""
        return {i: k for i, k in self._known.items() if k.report is not None and k.report.state != "removed"}

    async def note_epoch(self, container_id: str, epoch: int) -> int:
        """Keep the highest placement epoch seen of a container; returns it."""
        known = self._known.get(container_id)
        if known is not None and known.epoch >= epoch:
            return known.epoch
        fresh = Known(known.seq if known else 0, epoch, known.report if known else None)
        self._known[container_id] = fresh
        await self._do(lambda db: _write_known(db, container_id, fresh))
        return epoch

    async def observe(self, report: ContainerReport) -> tuple[ContainerReport, StateFact | None]:
        """Number a report. If it is news it gets the next `seq` and becomes a fact that is kept until acknowledged; else it has the old `seq`."""
        known = self._known.get(report.container_id)
        epoch = max(report.epoch, known.epoch if known else 0)
        report = msgspec.structs.replace(report, epoch=epoch)
        if known is not None and known.report is not None and _signature(known.report) == _signature(report):
            return msgspec.structs.replace(report, seq=known.seq, cause=known.report.cause), None
        numbered = msgspec.structs.replace(report, seq=(known.seq if known else 0) + 1)
        self._known[report.container_id] = fresh = Known(numbered.seq, epoch, numbered)

        def job(db: sqlite3.Connection) -> int:
            _write_known(db, report.container_id, fresh)
            last = db.execute("SELECT value FROM meta WHERE name = 'fact_id'").fetchone()
            fact_id = int(last[0]) + 1 if last else 1
            db.execute("INSERT OR REPLACE INTO meta VALUES ('fact_id', ?)", (str(fact_id),))
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (report.container_id, fact_id, msgspec.json.encode(numbered)))
            return fact_id

        return numbered, StateFact(fact_id=await self._do(job), report=numbered)

    async def facts_acknowledged(self, fact_id: int) -> None:
        """The panel has the fact of this id (or a newer one of that container is on its way)."""
        await self._do(lambda db: db.execute("DELETE FROM facts WHERE fact_id <= ?", (fact_id,)) and None)

    async def unacknowledged_facts(self) -> list[StateFact]:
        rows = await self._do(lambda db: db.execute("SELECT fact_id, report FROM facts ORDER BY fact_id").fetchall())
        return [StateFact(fact_id=fact_id, report=_report.decode(report)) for fact_id, report in rows]

    async def rebooted(self) -> None:
        """The machine was restarted: numbers given just before a power cut may not have reached the disk. None may be given twice (R20)."""

        def job(db: sqlite3.Connection) -> None:
            db.execute("UPDATE containers SET seq = seq + ?", (REBOOT_GAP,))

        await self._do(job)
        for known in self._known.values():
            known.seq += REBOOT_GAP

    # ---------------------------------------------------------------------------------------------------------------- meta

    async def get(self, name: str) -> str:
        row = await self._do(lambda db: db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone())
        return row[0] if row else ""

    async def put(self, name: str, value: str) -> None:
        await self._do(lambda db: db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value)) and None)


def _write_known(db: sqlite3.Connection, container_id: str, known: Known) -> None:
    report = msgspec.json.encode(known.report) if known.report is not None else None
    db.execute("INSERT OR REPLACE INTO containers VALUES (?, ?, ?, ?, ?)", (container_id, known.seq, known.epoch, report, time.time()))


def _entry(row: tuple[Any, ...]) -> Entry:
    _, command_id, container_id, frame, stripped, state, deadline, received, running, result, _, _, started_before = row
    command = _command.decode(frame) if frame else Command(id=command_id, kind="", container_id=container_id)
    return Entry(
        command=command,
        deadline_unix=deadline,
        received_at_unix=received,
        running_at_unix=running,
        started_before=started_before,
        stripped=bool(stripped),
        recovered=True,
        settled=state == "done",
        result=_result.decode(result) if result else None,
    )
