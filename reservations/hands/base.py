"""What is asked of hands, and what they answer: plain frozen data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

Act = Literal["check", "create", "extend", "remove", "verify"]
CODES: Final = ("unreachable", "timeout", "login_refused", "host_key_changed", "no_root", "name_taken", "not_clean", "failed")
USERNAME: Final = re.compile(r"^lr-[a-z0-9](?:[a-z0-9-]{0,27}[a-z0-9])?$")
"""Accounts that Lormas makes. Nothing else is ever touched: not even if a row said so."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where, and as whom. Secrets are in the clear here: never log one, never keep one."""

    name: str
    host: str
    port: int
    user: str
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    host_key: str = ""
    """Pinned: `ssh-ed25519 AAAA…`; empty: whoever answers is taken down and believed this once."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account to make, to prolong or to remove. `marker` stands in its comment field: by it we know our own."""

    username: str
    marker: str
    password: str = field(default="", repr=False)
    public_key: str = ""
    seconds_left: int = 0
    sudo: bool = False
    uid: int | None = None

    def __post_init__(self) -> None:
        if not USERNAME.match(self.username):
            raise ValueError(f"{self.username!r} is no account of ours")
        if not re.fullmatch(r"lormas-[0-9a-f-]{36}", self.marker):
            raise ValueError("the marker is malformed")
        if any("\n" in text or "\x00" in text for text in (self.password, self.public_key)):
            raise ValueError("a secret has more than one line")


@dataclass(frozen=True, slots=True)
class Job:
    """One act on one machine; `id` comes back with the outcome."""

    id: UUID
    act: Act
    endpoint: Endpoint
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went. `code` is one of CODES, `detail` a sentence for a person, without secrets."""

    job: Job
    ok: bool
    code: str = ""
    detail: str = ""
    uid: int | None = None
    host_key: str = ""
    """Who answered, where somebody did."""
    latency_ms: float | None = None
