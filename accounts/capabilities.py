"""The literal table of what a person may be allowed to do, and the built-in roles made of it.

The roles page, the documentation and the seeding come from here. A role's capability on containers counts for what one owns; `containers.any` widens
all of that room's capabilities one holds to everybody's. Nodes, clusters, eggs and machines have no owner: the role counts for all of them. What is
marked `object_level` can also be granted on single objects, to people and to roles (`accounts.grants`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capability:
    """One right: its code, and what it lets a person do (completes the sentence "may ...")."""

    code: str
    may: str
    object_level: bool = False


CAPABILITIES: tuple[Capability, ...] = (
    Capability("containers.view", "see containers, their state and stats", object_level=True),
    Capability("containers.create", "create containers"),
    Capability("containers.start", "start containers", object_level=True),
    Capability("containers.stop", "stop, restart, kill and pause containers", object_level=True),
    Capability("containers.logs", "read logs", object_level=True),
    Capability("containers.console", "write to a container's console", object_level=True),
    Capability("containers.exec", "run commands and terminals inside containers", object_level=True),
    Capability("containers.files", "read and change files of containers", object_level=True),
    Capability("containers.backups", "make, check, lock and delete backups of containers", object_level=True),
    Capability("containers.restore", "put a backup in place of a container's files", object_level=True),
    Capability("containers.schedules", "make, change and run schedules of containers", object_level=True),
    Capability("containers.edit", "change settings, variables and limits", object_level=True),
    Capability("containers.delete", "delete and restore containers", object_level=True),
    Capability("containers.grant", "give others rights on containers", object_level=True),
    Capability("containers.any", "do all of that on everybody's containers"),
    Capability("containers.host_access", "use host mounts, devices, host network and privileged mode"),
    Capability("containers.choose_node", "choose the node a container runs on", object_level=True),
    Capability("nodes.view", "see nodes, their facts and load", object_level=True),
    Capability("nodes.create", "register nodes"),
    Capability("nodes.edit", "change labels, taints, limits and status of nodes", object_level=True),
    Capability("nodes.token", "see and rotate node tokens", object_level=True),
    Capability("nodes.drain", "drain nodes", object_level=True),
    Capability("nodes.delete", "remove nodes", object_level=True),
    Capability("nodes.grant", "give others rights on nodes and clusters", object_level=True),
    Capability("clusters.manage", "create, change and delete clusters", object_level=True),
    Capability("eggs.view", "see eggs and deploy them", object_level=True),
    Capability("eggs.manage", "import, change and delete eggs", object_level=True),
    Capability("machines.view", "see the machine pool", object_level=True),
    Capability("machines.manage", "register, check and remove machines", object_level=True),
    Capability("reservations.create", "reserve machines"),
    Capability("reservations.any", "see and end everybody's reservations"),
    Capability("catalog.manage", "change services, plans and prices"),
    Capability("billing.view_any", "see everybody's usage and invoices"),
    Capability("webhooks.manage", "manage webhooks"),
    Capability("users.view", "see accounts"),
    Capability("users.manage", "create, change and deactivate accounts"),
    Capability("users.impersonate", "see the console as somebody with no more rights sees it"),
    Capability("roles.manage", "create and change roles, assign them"),
    Capability("audit.view", "read the journal"),
    Capability("operations.any", "see everybody's operations"),
    Capability("system.view", "see the panel's health in detail"),
    Capability("settings.manage", "change the panel's settings"),
)
CODES: frozenset[str] = frozenset(capability.code for capability in CAPABILITIES)

_MEMBER = (
    "containers.view",
    "containers.create",
    "containers.start",
    "containers.stop",
    "containers.logs",
    "containers.console",
    "containers.exec",
    "containers.files",
    "containers.backups",
    "containers.restore",
    "containers.schedules",
    "containers.edit",
    "containers.delete",
    "containers.grant",
    "eggs.view",
    "machines.view",
    "reservations.create",
)
_OPERATOR = (
    *_MEMBER,
    "containers.any",
    "containers.choose_node",
    "nodes.view",
    "nodes.create",
    "nodes.edit",
    "nodes.token",
    "nodes.drain",
    "nodes.grant",
    "clusters.manage",
    "eggs.manage",
    "machines.manage",
    "reservations.any",
    "operations.any",
    "system.view",
    "webhooks.manage",
)


@dataclass(frozen=True, slots=True)
class BuiltInRole:
    """A role that is seeded and can't be deleted."""

    slug: str
    name: str
    description: str
    capabilities: tuple[str, ...]
    quota: tuple[tuple[str, float], ...] = ()
    """What it begins with, by the fields of `accounts.quotas.Allowance`; administrators change it. Empty: no quota."""


ADMINISTRATOR = "administrator"
"""The role that may everything, always; the last one who has it can't lose it."""

BUILT_IN_ROLES: tuple[BuiltInRole, ...] = (
    BuiltInRole(ADMINISTRATOR, "Administrator", "May do everything.", tuple(capability.code for capability in CAPABILITIES)),
    BuiltInRole("operator", "Operator", "Runs the fleet: nodes, eggs, everybody's containers; no accounts.", _OPERATOR),
    BuiltInRole(
        "member",
        "Member",
        "Runs containers of their own.",
        _MEMBER,
        # Five of the default size, for whoever signs up; enough to try it, too little to fill a node.
        quota=(("containers", 5), ("cpus", 5.0), ("memory_bytes", 8 * 1024**3), ("disk_bytes", 20 * 1024**3)),
    ),
    BuiltInRole("viewer", "Viewer", "Looks, and changes nothing.", ("containers.view", "containers.logs", "eggs.view", "machines.view")),
)
