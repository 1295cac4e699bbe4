"""Identities: of rows, of this process, of this installation."""

from __future__ import annotations

import os
import secrets
import uuid

PROCESS_ID = ""
"""Names this process for reply channels and ownership; new at each start. Ask for it as `ids.PROCESS_ID`: what was forked is another process."""


def _name_this_process() -> None:
    global PROCESS_ID
    PROCESS_ID = f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(4)}"


_name_this_process()
os.register_at_fork(after_in_child=_name_this_process)


def new_id() -> uuid.UUID:
    """A random UUID."""
    return uuid.uuid4()
