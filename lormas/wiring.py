"""How lower rooms reach upper ones: literal tables of dotted strings; imports nothing. `lormas.checks` imports every entry at start."""

from __future__ import annotations

FACTS: dict[str, str] = {
    "container.state": "containers.inbox.on_state",
    "container.snapshot": "containers.inbox.on_snapshot",
}
"""Agent fact -> handler(node_id: UUID, fact: msgspec struct) (sync, runs in a thread, own transaction)."""

STATS: tuple[str, ...] = ("containers.inbox.on_stats",)
"""handler(reports: list[tuple[UUID, StatsReport]]): what nodes measured, of many nodes at a time (sync, runs in a thread, own transactions)."""

NODE_HOMES: tuple[str, ...] = ("containers.inbox.homes",)
"""handler(container_ids: set[str]) -> dict[str, UUID]: on which node each of them lives, where it lives on one. As NODE_FOREIGN, for many nodes."""

SAMPLES: tuple[str, ...] = ("billing.metering.take_in",)
"""handler(reports: list[tuple[node id, StatsReport, dict[str, containers.stats.Metered]]]): each report once, in the transaction of its samples."""

SETTLED: dict[str, str] = {
    "container.create": "containers.inbox.on_settled",
    "container.install": "containers.inbox.on_settled",
    "container.adopt": "containers.inbox.on_settled",
    "container.start": "containers.inbox.on_settled",
    "container.stop": "containers.inbox.on_settled",
    "container.restart": "containers.inbox.on_settled",
    "container.kill": "containers.inbox.on_settled",
    "container.pause": "containers.inbox.on_settled",
    "container.unpause": "containers.inbox.on_settled",
    "container.remove": "containers.inbox.on_settled",
    "container.update": "containers.inbox.on_updated",
    "container.receive": "containers.inbox.on_settled",
    "container.digest": "containers.inbox.on_settled",
    "node.image_pull": "nodes.stock.on_settled",
    "node.prune": "nodes.stock.on_settled",
    "node.upgrade": "nodes.upgrades.on_settled",
    "node.swarm_create": "nodes.stock.on_settled",
    "node.swarm_update": "nodes.stock.on_settled",
    "node.swarm_remove": "nodes.stock.on_settled",
    "node.swarm_availability": "nodes.stock.on_settled",
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

NODE_KNOWN: tuple[str, ...] = ("containers.inbox.known",)
"""handler(container_ids: set[str]) -> set[str]: those that a row knows, on whatever node; the others that a node reports are orphans."""

NODE_TAKEN: tuple[str, ...] = ("containers.whereabouts.taken_for",)
"""handler(demand: nodes.placement.Demand) -> (host ports held by node, labels by node): what containers hold of what a demand asks for. One only."""

NODE_HOLDINGS: tuple[str, ...] = ("containers.services.moving.holdings",)
"""handler(node: nodes.models.Node) -> list[nodes.drains.Holding]: what runs or is to run there, and what a drain would do with it."""

NODE_EVICT: tuple[str, ...] = ("containers.services.moving.evict",)
"""handler(container_id: UUID, node: Node, *, act: str, kill: bool, reason: str) -> nodes.drains.Step; may be called again and again. One only."""

NODE_TICKS: tuple[str, ...] = ("containers.services.migrate_steps.advance_all",)
"""handler() -> int: called by the warden about every second, in a thread; cheap where there is nothing to do."""

NODE_CARRIERS: tuple[str, ...] = ("containers.carrying.ensure",)
"""async handler(): called by the warden about every second, on its event loop: begins to carry bytes between nodes where that is due."""

NODE_SILENT: tuple[str, ...] = ("containers.services.failover.sweep",)
"""handler() -> int: called by the warden every few seconds while it may judge nodes (R10): what to do about those that are lost."""

CANCEL: dict[str, str] = {"container.migrate": "containers.services.migrate.cancel", "node.image_pull": "nodes.stock.cancel_pull"}
"""Kind of operation -> handler(operation, *, actor, reason): how it is called off, where ending its row is not enough. Raises Conflict."""

NODE_BRING_BACK: tuple[str, ...] = ("containers.services.moving.bring_back",)
"""handler(node: Node, container_ids: list[UUID]) -> int: start what a drain had stopped there."""

GRANTS: dict[str, str] = {
    "container": "containers.access.grant_kind",
    "node": "nodes.access.node_kind",
    "cluster": "nodes.access.cluster_kind",
    "egg": "eggs.access.grant_kind",
    "machine": "reservations.access.grant_kind",
}
"""Kind of object -> function() -> accounts.grants.Kind: on what rights can be granted (docs/architecture/rights.md)."""

SINKS: dict[str, str] = {}
"""Journal action -> handler(entry), after the commit of what it speaks of. Where notices hook in: `containers.crashed`, `containers.crash_loop`,
`containers.heal_given_up`, `containers.log_alert` and all the others."""

MACHINE_SOURCES: dict[str, str] = {"container": "containers.access.get_container", "containers": "containers.access.visible_containers"}
"""What a machine of the pool may be made of -> get(user, id), which raises NotFound, and all(user): rooms on one floor don't see each other."""

JOBS: dict[str, dict[str, str | int]] = {
    "containers.tidy": {
        "title": "Restarts, stuck states, trash, old stats",
        "run": "containers.tasks.tidy",
        "every_seconds": 60,
        "limit_seconds": 300,
    },
    "containers.schedules": {
        "title": "Schedules of containers that are due",
        "run": "containers.tasks.look_at_schedules",
        "every_seconds": 20,
        "limit_seconds": 120,
    },
    "containers.idle": {
        "title": "Containers that nobody uses: warn, then stop",
        "run": "containers.tasks.stop_idle",
        "every_seconds": 20,
        "limit_seconds": 120,
    },
    "containers.tidy_backups": {
        "title": "Backups: what lost its worker, what waits, archives that are to go",
        "run": "containers.tasks.tidy_backups",
        "every_seconds": 60,
        "limit_seconds": 600,
    },
    "nodes.sync": {"title": "Ask all agents for a full listing", "run": "nodes.reconcile.sync", "every_seconds": 300},
    "nodes.health": {"title": "Look at the health of all nodes", "run": "nodes.reconcile.look", "every_seconds": 120},
    "nodes.orphans": {"title": "Report and remove containers that nobody knows", "run": "nodes.orphans.sweep", "every_seconds": 3600},
    "nodes.evict": {"title": "Enforce NoExecute taints", "run": "nodes.drains.evict_tainted", "every_seconds": 60},
    "nodes.maintenance": {"title": "Begin and end maintenance windows", "run": "nodes.windows.advance", "every_seconds": 60},
    "nodes.rotation": {
        "title": "Have agents rotate and tidy what they keep",
        "run": "nodes.reconcile.rotation",
        "every_seconds": 86400,
        "at": "01:00",
    },
    "nodes.cleanup": {
        "title": "Forget old events, runs, commands and operations",
        "run": "nodes.reconcile.cleanup",
        "every_seconds": 86400,
        "at": "02:00",
    },
    "containers.rotate_logs": {
        "title": "Logs of containers begin new files",
        "run": "containers.tasks.rotate_logs",
        "every_seconds": 86400,
        "at": "01:00",
        "limit_seconds": 900,
    },
    "containers.expire_logs": {
        "title": "Logs of containers older than LOG_RETENTION_DAYS",
        "run": "containers.tasks.expire_logs",
        "every_seconds": 86400,
        "at": "02:00",
        "limit_seconds": 900,
    },
    "containers.watch_logs": {"title": "Patterns that people want to hear of", "run": "containers.tasks.watch_logs", "every_seconds": 60},
    "lormas.rotate_system_log": {
        "title": "The panel's own log begins a new file",
        "run": "lormas.systemlog.rotate",
        "every_seconds": 86400,
        "at": "01:00",
    },
    "lormas.rotate_secrets": {
        "title": "Encrypted columns move to the newest key",
        "run": "lormas.sealed.rotate",
        "every_seconds": 86400,
        "at": "03:30",
        "limit_seconds": 600,
    },
    "accounts.send_letters": {"title": "Mail that is due", "run": "accounts.tasks.send_letters", "every_seconds": 20, "limit_seconds": 120},
    "accounts.tidy": {"title": "Old letters and sessions", "run": "accounts.tasks.tidy", "every_seconds": 3600},
    "accounts.sweep_grants": {"title": "Rights on objects that have ended", "run": "accounts.tasks.sweep_grants", "every_seconds": 60},
    "audit.seal": {"title": "Seals of journal rows that have none", "run": "audit.tasks.seal", "every_seconds": 60},
    "audit.prune": {
        "title": "Journal rows older than AUDIT_RETENTION_DAYS",
        "run": "audit.tasks.prune",
        "every_seconds": 6 * 3600,
        "limit_seconds": 900,
    },
    "reservations.tidy": {
        "title": "Reservations: ends, starts, cleaning, queue, checks",
        "run": "reservations.tasks.tidy",
        "every_seconds": 60,
        "limit_seconds": 600,
    },
    "reservations.daily": {
        "title": "Reservations: old rows",
        "run": "reservations.tasks.daily",
        "every_seconds": 86400,
        "at": "03:00",
        "limit_seconds": 600,
    },
    "billing.tidy": {
        "title": "Hours of usage older than USAGE_RETENTION_DAYS",
        "run": "billing.tasks.tidy",
        "every_seconds": 86400,
        "at": "03:15",
        "limit_seconds": 600,
    },
    "audit.forget_expired": {"title": "Stored answers of repeated requests", "run": "audit.tasks.forget_expired", "every_seconds": 3600},
}
"""Periodic jobs by name: `run` is called without arguments under a lease (`nodes.jobs`) and gives a count or a small dict. `every_seconds`, or for
daily ones `at` ("HH:MM" UTC, with every_seconds 86400); `limit_seconds` (default 300) is how long the lease holds."""
