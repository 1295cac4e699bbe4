"""The literal table of what a person may be allowed to do, and the built-in roles made of it.

The roles page, the documentation and the seeding come from here. A role's capability on containers counts for what one owns; `containers.any` widens
all of that room's capabilities one holds to everybody's. Nodes, clusters, eggs and machines have no owner: the role counts for all of them. What is
marked `object_level` can also be granted on single objects, to people and to roles (`accounts.grants`).
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _


@dataclass(frozen=True, slots=True)
class Capability:
    """One right: its code, and what it lets a person do (completes the sentence "may ...")."""

    code: str
    may: str
    object_level: bool = False

    @property
    def said(self) -> str:
        """`may` in the reader's language, for pages; the API says it as it stands."""
        return gettext(self.may)


CAPABILITIES: tuple[Capability, ...] = (
    Capability("containers.view", _("see containers, their state and stats"), object_level=True),
    Capability("containers.create", _("create containers")),
    Capability("containers.start", _("start containers"), object_level=True),
    Capability("containers.stop", _("stop, restart, kill and pause containers"), object_level=True),
    Capability("containers.logs", _("read logs"), object_level=True),
    Capability("containers.console", _("write to a container's console"), object_level=True),
    Capability("containers.exec", _("run commands and terminals inside containers"), object_level=True),
    Capability("containers.files", _("read and change files of containers"), object_level=True),
    Capability("containers.backups", _("make, check, lock and delete backups of containers"), object_level=True),
    Capability("containers.restore", _("put a backup in place of a container's files"), object_level=True),
    Capability("containers.schedules", _("make, change and run schedules of containers"), object_level=True),
    Capability("containers.edit", _("change settings, variables and limits"), object_level=True),
    Capability("containers.delete", _("delete and restore containers"), object_level=True),
    Capability("containers.grant", _("give others rights on containers"), object_level=True),
    Capability("containers.any", _("do all of that on everybody's containers")),
    Capability("containers.host_access", _("use host mounts, devices, host network and privileged mode")),
    Capability("containers.choose_node", _("choose the node a container runs on"), object_level=True),
    Capability("nodes.view", _("see nodes, their facts and load"), object_level=True),
    Capability("nodes.create", _("register nodes")),
    Capability("nodes.edit", _("change labels, taints, limits and status of nodes"), object_level=True),
    Capability("nodes.token", _("see and rotate node tokens"), object_level=True),
    Capability("nodes.drain", _("drain nodes"), object_level=True),
    Capability("nodes.delete", _("remove nodes"), object_level=True),
    Capability("nodes.grant", _("give others rights on nodes and clusters"), object_level=True),
    Capability("clusters.manage", _("create, change and delete clusters"), object_level=True),
    Capability("eggs.view", _("see eggs and deploy them"), object_level=True),
    Capability("eggs.manage", _("import, change and delete eggs"), object_level=True),
    Capability("machines.view", _("see the machine pool"), object_level=True),
    Capability("machines.manage", _("register, check and remove machines"), object_level=True),
    Capability("reservations.create", _("reserve machines")),
    Capability("reservations.any", _("see and end everybody's reservations")),
    Capability("catalog.manage", _("change services, plans and prices")),
    Capability("billing.view_any", _("see everybody's usage and invoices")),
    Capability("webhooks.manage", _("manage webhooks")),
    Capability("users.view", _("see accounts")),
    Capability("users.manage", _("create, change and deactivate accounts")),
    Capability("users.impersonate", _("see the console as somebody with no more rights sees it")),
    Capability("roles.manage", _("create and change roles, assign them")),
    Capability("audit.view", _("read the journal")),
    Capability("operations.any", _("see everybody's operations")),
    Capability("system.view", _("see the panel's health in detail")),
    Capability("settings.manage", _("change the panel's settings")),
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
    BuiltInRole(ADMINISTRATOR, _("Administrator"), _("May do everything."), tuple(capability.code for capability in CAPABILITIES)),
    BuiltInRole("operator", _("Operator"), _("Runs the fleet: nodes, eggs, everybody's containers; no accounts."), _OPERATOR),
    BuiltInRole(
        "member",
        _("Member"),
        _("Runs containers of their own."),
        _MEMBER,
        # Five of the default size, for whoever signs up; enough to try it, too little to fill a node.
        quota=(("containers", 5), ("cpus", 5.0), ("memory_bytes", 8 * 1024**3), ("disk_bytes", 20 * 1024**3)),
    ),
    BuiltInRole("viewer", _("Viewer"), _("Looks, and changes nothing."), ("containers.view", "containers.logs", "eggs.view", "machines.view")),
)
