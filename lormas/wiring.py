"""How lower rooms reach upper ones: literal tables of dotted strings; imports nothing. `lormas.checks` imports every entry at start."""

from __future__ import annotations

FACTS: dict[str, str] = {
    "container.state": "containers.inbox.on_state",
    "container.snapshot": "containers.inbox.on_snapshot",
    "stats": "containers.inbox.on_stats",
}
"""Agent fact -> handler(node_id: UUID, fact: msgspec struct) (sync, runs in a thread, own transaction)."""

SETTLED: dict[str, str] = {
    "container.create": "containers.inbox.on_settled",
    "container.start": "containers.inbox.on_settled",
    "container.stop": "containers.inbox.on_settled",
    "container.restart": "containers.inbox.on_settled",
    "container.kill": "containers.inbox.on_settled",
    "container.pause": "containers.inbox.on_settled",
    "container.unpause": "containers.inbox.on_settled",
    "container.remove": "containers.inbox.on_settled",
}
"""Command kind -> handler(command: nodes.models.Command), inside the transaction that settles it."""

PROGRESS: dict[str, str] = {}
"""Command kind -> handler(command), after its progress was stored."""

NODE_CHANGED: tuple[str, ...] = ("containers.inbox.on_node_changed",)
"""handler(node: nodes.models.Node, before: str) after a node's status changed, inside that transaction."""

NODE_HELLO: tuple[str, ...] = ("containers.inbox.on_hello",)
"""handler(node: nodes.models.Node, hello: agent.protocol.messages.Hello) -> list[str] of container ids to fence, before Welcome is sent."""

NODE_FOREIGN: tuple[str, ...] = ("containers.inbox.foreign",)
"""handler(node_id: UUID, container_ids: set[str]) -> dict[str, int]: those of them that live on another node, with their placement epoch (D04)."""

SINKS: dict[str, str] = {}
"""Journal action -> handler(entry)."""

MACHINE_SOURCES: dict[str, str] = {"container": "containers.access.get_container"}
"""What a machine of the pool may be made of -> get(user, id), which raises NotFound: rooms on one floor don't see each other."""
