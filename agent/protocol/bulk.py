"""Bulk transfers: one socket each, `WS /api/ws/nodes/streams/{stream_id}`, dialled by the agent when told by a `BulkOpen`.

So a download can't delay a command, and its end is the socket's end. Text frames are messages (`{"type": ...}`), binary frames are content of at
most `FRAME_BYTES`. Content flows under credit: whoever receives says `credit` for what it has passed on; nobody sends more than `WINDOW_BYTES`
ahead. Order of a transfer:

    agent: head {data} | failed {code, detail}          what it is about to send, or why not; further heads between the content tell how far it is
    sender: content..., end {data}                      kinds in READS: the agent; in WRITES: the panel
    agent (WRITES only): end {data} | failed            after the content was stored
"""

from __future__ import annotations

from typing import Any

import msgspec

from agent.protocol.backups import BackupRead, BackupWrite
from agent.protocol.files import FilesRead, FilesUpload, FilesWrite, RecordingRead
from agent.protocol.moving import TreeRead, TreeWrite
from agent.protocol.parts import Part

FRAME_BYTES = 64 * 1024
WINDOW_BYTES = 512 * 1024
CREDIT_STEP_BYTES = 128 * 1024

READS: dict[str, type[Part]] = {"files.read": FilesRead, "recording.read": RecordingRead, "tree.read": TreeRead, "backup.read": BackupRead}
WRITES: dict[str, type[Part]] = {"files.write": FilesWrite, "files.upload": FilesUpload, "tree.write": TreeWrite, "backup.write": BackupWrite}
KINDS: dict[str, type[Part]] = {**READS, **WRITES}


class BulkFrame(msgspec.Struct, tag_field="type", frozen=True, kw_only=True):
    """Base."""


class Head(BulkFrame, tag="head", frozen=True):
    data: dict[str, Any] = {}


class BulkCredit(BulkFrame, tag="credit", frozen=True):
    bytes: int


class End(BulkFrame, tag="end", frozen=True):
    data: dict[str, Any] = {}


class Failed(BulkFrame, tag="failed", frozen=True):
    code: str
    detail: str


BulkMessage = Head | BulkCredit | End | Failed
_decoder: msgspec.json.Decoder[BulkMessage] = msgspec.json.Decoder(BulkMessage)


def encode(message: BulkMessage) -> str:
    return msgspec.json.encode(message).decode()


def decode(text: str | bytes) -> BulkMessage:
    """Raises ValueError."""
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
