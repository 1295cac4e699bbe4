"""What must be true again after every fault, whatever it was. Each gives findings in words; none is a good answer."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from tests.chaos.faults import Fault
from tests.chaos.people import Client
from tests.chaos.world import World

PASSING = {"creating", "installing", "starting", "stopping", "restarting", "deleting"}
OVER = {"succeeded", "failed", "cancelled", "timed_out"}
SETTLE_SECONDS = 150
"""The longest deadline of a passing state or an operation that these people ask for, and a sweep."""

TRUTH_SECONDS = 75


async def _pages(client: Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page: str | None = f"{path}?page_size=200"
    while page:
        status, body = await client.ask("GET", page)
        if status != 200:
            raise RuntimeError(f"{page}: {status} {body}")
        found += body["results"]
        page = body["next"] and body["next"][body["next"].index("/api/") :]
    return found


async def settled(world: World, client: Client) -> list[str]:
    """Wait until nothing is under way any more: what still is after `SETTLE_SECONDS` is a finding."""
    end = time.monotonic() + SETTLE_SECONDS
    open_operations = dict(client.ledger.operations)
    while True:
        for operation_id in list(open_operations):
            status, found = await client.ask("GET", f"/api/operations/{operation_id}")
            if status == 404:
                return [f"an acknowledged operation is gone: {open_operations[operation_id]} ({operation_id})"]
            if status == 200 and found["status"] in OVER:
                del open_operations[operation_id]
        passing = {one["name"]: one["status"] for one in await _pages(client, "/api/containers") if one["status"] in PASSING}
        status, node = await client.ask("GET", f"/api/nodes/{world.node_id}")
        if not open_operations and not passing and node["status"] == "ACTIVE":
            return []
        if time.monotonic() > end:
            return [
                *(f"not over after {SETTLE_SECONDS} s: {what} ({operation_id})" for operation_id, what in open_operations.items()),
                *(f"stuck after {SETTLE_SECONDS} s: {name} is {state}" for name, state in passing.items()),
                *([f"the node is {node['status']}: {node['status_reason']}"] if node["status"] != "ACTIVE" else []),
            ]
        await asyncio.sleep(0.5)


async def truth(world: World, client: Client) -> list[str]:
    """Panel and engine say the same; nothing is there twice, lost, or left over. Looked at until it is so, for `TRUTH_SECONDS`: reports travel,
    and what an engine that was away could not delete is asked of it again.
    """
    end = time.monotonic() + TRUTH_SECONDS
    while True:
        found = await _differences(world, client)
        if not found or time.monotonic() > end:
            return found
        await asyncio.sleep(0.5)


async def _differences(world: World, client: Client) -> list[str]:
    ledger = client.ledger
    listed = {one["id"]: one for one in await _pages(client, "/api/containers")}
    there = await asyncio.to_thread(world.ours)
    found = []
    for container_id, copies in there.items():
        if len(copies) > 1:
            found.append(f"twins of {ledger.containers.get(container_id, container_id)}: {[one['Id'][:12] for one in copies]}")
        if container_id not in listed:
            found.append(f"left over on the engine: {ledger.containers.get(container_id, container_id)}")
    for container_id, name in ledger.containers.items():
        if container_id in ledger.deleted:
            if container_id in listed:
                found.append(f"{name} was deleted and is still listed as {listed[container_id]['status']}")
        elif container_id not in listed:
            found.append(f"{name} was acknowledged and is gone")
    names = [one["name"] for one in listed.values()]
    found += [f"made twice: {name}" for name in sorted({name for name in names if names.count(name) > 1})]
    for container_id, one in listed.items():
        runs = [bool(copy["State"]["Running"]) for copy in there.get(container_id, [])]
        says = one["status"]
        if (says == "running") != (runs == [True]):
            found.append(f"{one['name']} is {says} in the panel, on the engine: {runs} ({one['status_reason']})")
        if says == "unknown" or (says == "missing" and runs):
            found.append(f"{one['name']} is {says}: {one['status_reason']}")
    return found


async def foreign(world: World, fault: Fault, before: dict[str, tuple[str, str, bool]]) -> list[str]:
    """What is none of ours is as it was."""
    now = await asyncio.to_thread(world.foreign)
    told = 2 if fault.ends_foreign else 3
    touched = [name for name, one in before.items() if now.get(name, ())[:told] != one[:told]]
    return [f"a foreign container was touched: {name} was {before[name]}, is {now.get(name)}" for name in touched]


EVIDENCE = """
from containers.models import Container
from nodes.models import Command, Operation
answer = []
for one in Container.objects.filter(name__in=values["names"]):
    shown = {f.name: str(getattr(one, f.attname)) for f in one._meta.concrete_fields if f.name not in ("spec", "environment")}
    commands = Command.objects.filter(subject_id=one.pk).order_by("created_at")
    shown_of = ("kind", "state", "error_code", "result", "created_at", "acked_at", "settled_at")
    told = [{name: str(getattr(c, name))[:200] for name in shown_of} for c in commands]
    answer.append([one.name, str(one.pk), shown, told])
"""


async def evidence(world: World, findings: list[str]) -> list[str]:
    """What the panel's database has on the containers that findings name: for the person who looks for the cause."""
    names = sorted(set(re.findall(r"\bp\d+-\d+\b", " ".join(findings))))
    rows = await asyncio.to_thread(world.panel.in_django, EVIDENCE, names=names) if names else []
    return [line for name, pk, shown, commands in rows for line in (f"{name} {pk}: {shown}", *(f"  {command}" for command in commands))]


async def all_of_them(world: World, client: Client, fault: Fault, before: dict[str, tuple[str, str, bool]]) -> list[str]:
    """Every finding after this fault."""
    found = [f"{fault.name}: {words}" for words in await settled(world, client)]
    for more in (await truth(world, client), await foreign(world, fault, before), client.ledger.odd):
        found += [f"{fault.name}: {words}" for words in more]
    return found
