"""People who go on working while things break: each owns one container at a time and asks for one thing after another.

Every request carries an `Idempotency-Key` and is repeated, with the same key and body, until the panel has answered it: what a careful
client does. An answer of 2xx is a promise; `Ledger` keeps it.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.e2e.stack import IMAGE

PATIENCE_SECONDS = 120
"""How long one request is repeated before that is a finding of its own."""
ATTEMPT_SECONDS = 20
IN_FLIGHT_SECONDS = 15
"""The first attempt under a key may have died with its panel: after this long a client looks whether it took effect."""


@dataclass
class Ledger:
    """What the panel promised, and what it said that it should not."""

    operations: dict[str, str] = field(default_factory=dict)
    """Operation id to what was asked."""
    containers: dict[str, str] = field(default_factory=dict)
    """Container id to its name: creation was acknowledged."""
    deleted: set[str] = field(default_factory=set)
    """Containers whose deletion was acknowledged."""
    odd: list[str] = field(default_factory=list)
    """Answers that no client can do anything with."""
    answered: int = 0
    repeated: int = 0


class Client:
    """Asks again until there is an answer."""

    def __init__(self, url: str, key: str, ledger: Ledger) -> None:
        self.url = url
        self.ledger = ledger
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ATTEMPT_SECONDS), headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def once(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One attempt. Raises `aiohttp.ClientError`, `TimeoutError`."""
        assert self._session is not None
        async with self._session.request(method, self.url + path, json=body, headers=headers) as answer:
            kind = answer.headers.get("Content-Type", "")
            return answer.status, (await answer.json() if "json" in kind else await answer.text())

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The first answer below 500; 5xx, 429 and a lost connection are asked again under the same key."""
        key = str(uuid.uuid4())
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        last: Any = None
        while asyncio.get_running_loop().time() < end:
            try:
                status, found = await self.once(method, path, body, **({} if method == "GET" else {"Idempotency-Key": key}))
            except (aiohttp.ClientError, TimeoutError) as error:
                last = repr(error)
            else:
                unknown = status == 409 and isinstance(found, dict) and found.get("code") == "idempotency_in_flight"
                waiting = unknown and asyncio.get_running_loop().time() < end - PATIENCE_SECONDS + IN_FLIGHT_SECONDS
                if status < 500 and status != 429 and not waiting:
                    self.ledger.answered += 1
                    return status, found
                last = (status, found)
                if isinstance(found, str) and "<html" in found.lower():
                    self.ledger.odd.append(f"{method} {path}: {status} with a page instead of a problem: {found[:200]}")
            self.ledger.repeated += 1
            await asyncio.sleep(0.3)
        self.ledger.odd.append(f"{method} {path}: no answer within {PATIENCE_SECONDS} s; last {last}")
        return 0, None


class Person:
    """`run` until told to stop; the request under way is finished."""

    def __init__(self, name: str, client: Client, *, seed: int, node_id: str) -> None:
        self.name = name
        self.client = client
        self.node_id = node_id
        self.dice = random.Random(seed)
        self.container_id = ""
        self._made = 0

    async def run(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._step()
            await asyncio.sleep(self.dice.uniform(0.05, 0.4))

    async def _step(self) -> None:
        if not self.container_id:
            await self._create()
            return
        await self._act(self.dice.choices(["start", "stop", "restart", "kill", "delete", "look"], [4, 4, 3, 2, 1, 2])[0])

    async def _act(self, act: str) -> None:
        ledger = self.client.ledger
        if act == "look":
            await self.client.ask("GET", f"/api/containers/{self.container_id}")
            return
        if act == "delete":
            status, found = await self.client.ask("DELETE", f"/api/containers/{self.container_id}?force=true")
        else:
            status, found = await self.client.ask("POST", f"/api/containers/{self.container_id}/{act}", {})
        self._note(status, found, f"{act} {self.name}")
        if act == "delete" and status == 409:  # its panel died with the answer: did it take effect?
            status = 204 if (await self.client.ask("GET", f"/api/containers/{self.container_id}"))[0] == 404 else 409
        if act == "delete" and status in (200, 202, 204):
            ledger.deleted.add(self.container_id)
            self.container_id = ""

    async def leave(self) -> None:
        """Nothing of this person is left behind."""
        while self.container_id:
            await self._act("delete")
            await asyncio.sleep(0.2)

    async def _create(self) -> None:
        self._made += 1
        name = f"{self.name}-{self._made}"
        body = {
            "name": name, "image": IMAGE, "node": self.node_id, "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"],
            "limits": {"cpus": 0.2, "memory_bytes": 16 * 1024**2},
        }  # fmt: skip
        status, found = await self.client.ask("POST", "/api/containers", body)
        if status == 409:
            _, page = await self.client.ask("GET", f"/api/containers?search={name}")
            status, found = next(((200, one) for one in page["results"] if one["name"] == name), (409, None))
        if status in (200, 201, 202):
            self.container_id = str(found["id"])
            self.client.ledger.containers[self.container_id] = name
        self._note(status, found, f"create {name}")

    def _note(self, status: int, found: Any, what: str) -> None:
        """2xx is a promise; a conflict, a lock and a node that is away are answers; the rest is odd."""
        if status in (200, 201, 202) and isinstance(found, dict):
            operation = found.get("operation")
            if operation:
                self.client.ledger.operations[operation["id"] if isinstance(operation, dict) else operation] = what
        elif status not in (0, 204, 409, 422, 423):
            self.client.ledger.odd.append(f"{what}: {status} {found}")
