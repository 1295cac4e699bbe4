"""Which power buttons a container has now, and why the others are off (pure but for the capability look-up)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from containers import access
from containers.models import Container
from containers.services.power import CAPABILITY
from containers.states import allowed_actions


@dataclass(frozen=True, slots=True)
class Button:
    """One action; `reason` is empty where it may be pressed."""

    action: str
    reason: str = ""

    @property
    def enabled(self) -> bool:
        return not self.reason


def _why_not(container: Container, action: str, held: frozenset[str]) -> str:
    capability = CAPABILITY.get(action, "containers.edit")
    if capability not in held:
        return _("You lack %(capability)s on this container.") % {"capability": capability}
    if container.node is None or not container.node.is_online:
        return _("Node %(node)s is not connected.") % {"node": container.node.name if container.node else "?"}
    running = container.running_operation
    if running is not None and running.kind == "container.migrate":
        return _("It is being moved: call that off first.")
    if running is not None and action != "kill":
        return _("%(kind)s is running; wait for it, or kill.") % {"kind": running.kind.partition(".")[2].capitalize()}
    if action not in allowed_actions(container.status, desired=container.desired) and not (action == "kill" and running is not None):
        return _("Not possible while it is %(state)s.") % {"state": str(container.get_status_display()).lower()}
    if action in ("pause", "unpause") and container.node.capabilities and "pause" not in container.node.capabilities:
        return _("The runtime of this node can't pause.")
    return ""


def reinstall_button(container: Container, user: Any) -> Button:
    """`reinstall`, for those whose egg has a script."""
    return Button("reinstall", _why_not(container, "reinstall", access.rights(user, container)))


def buttons(container: Container, user: Any, *, held: frozenset[str] | None = None) -> dict[str, Button]:
    """All actions, by name; `pause` gives way to `unpause` where it is paused. `held`: the person's rights on it, where they are known already."""
    held = access.rights(user, container) if held is None else held
    return {action: Button(action, _why_not(container, action, held)) for action in CAPABILITY}
