"""Identities: of rows, of this process, of this installation."""

from __future__ import annotations

import os
import secrets
import uuid

PROCESS_ID = f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(4)}"
"""Names this process for reply channels and ownership; new at each start."""


def new_id() -> uuid.UUID:
    """A random UUID."""
    return uuid.uuid4()
