"""States of machines, reservations and the machines held by them, and which moves are legal (pure)."""

from __future__ import annotations

from django.db.models import TextChoices


class Condition(TextChoices):
    """What is known of a machine beside who holds it. Only OK machines are given away."""

    OK = "ok", "In order"
    QUARANTINED = "quarantined", "Quarantined"
    BROKEN = "broken", "Broken"


class MachineStatus(TextChoices):
    """What a person sees (SURFACE section 7). Worked out from condition, reachability and holder, never stored."""

    AVAILABLE = "available", "Available"
    RESERVED = "reserved", "Reserved"
    QUARANTINED = "quarantined", "Quarantined"
    BROKEN = "broken", "Broken"
    OFFLINE = "offline", "Offline"


class State(TextChoices):
    """A reservation. WAITING: in the queue, holds nothing. REQUESTED: its machines are booked, its time has not begun."""

    WAITING = "waiting", "Waiting"
    REQUESTED = "requested", "Requested"
    PROVISIONING = "provisioning", "Provisioning"
    ACTIVE = "active", "Active"
    REVOKING = "revoking", "Revoking"
    ENDED = "ended", "Ended"
    FAILED = "failed", "Failed"


MOVES: dict[str, frozenset[str]] = {
    State.WAITING: frozenset({State.REQUESTED, State.ENDED, State.FAILED}),
    State.REQUESTED: frozenset({State.PROVISIONING, State.ENDED, State.FAILED}),
    State.PROVISIONING: frozenset({State.ACTIVE, State.REVOKING}),
    State.ACTIVE: frozenset({State.REVOKING}),
    State.REVOKING: frozenset({State.ENDED, State.FAILED}),
    State.ENDED: frozenset(),
    State.FAILED: frozenset(),
}
OPEN = (State.WAITING, State.REQUESTED, State.PROVISIONING, State.ACTIVE, State.REVOKING)
HOLDING = (State.REQUESTED, State.PROVISIONING, State.ACTIVE, State.REVOKING)
PASSING = (State.PROVISIONING, State.REVOKING)
"""Each has a deadline, after which the sweep settles it."""


class Hold(TextChoices):
    """One machine of one reservation. DIRTY: could not be proved clean; the machine is quarantined until it is."""

    BOOKED = "booked", "Booked"
    CREATING = "creating", "Making the account"
    READY = "ready", "Ready"
    REMOVING = "removing", "Removing the account"
    DIRTY = "dirty", "Not proved clean"
    CLEAN = "clean", "Clean"
    GIVEN_UP = "given_up", "Given back unused"


HOLD_MOVES: dict[str, frozenset[str]] = {
    Hold.BOOKED: frozenset({Hold.CREATING, Hold.GIVEN_UP}),
    Hold.CREATING: frozenset({Hold.READY, Hold.REMOVING}),
    Hold.READY: frozenset({Hold.REMOVING}),
    Hold.REMOVING: frozenset({Hold.CLEAN, Hold.DIRTY}),
    Hold.DIRTY: frozenset({Hold.CLEAN, Hold.GIVEN_UP}),
    Hold.CLEAN: frozenset(),
    Hold.GIVEN_UP: frozenset(),
}
HOLD_DONE = (Hold.CLEAN, Hold.GIVEN_UP)


def sources(moves: dict[str, frozenset[str]], target: str) -> list[str]:
    """The states from which `target` may be reached: for `UPDATE ... WHERE state IN (...)`."""
    return sorted(source for source, targets in moves.items() if target in targets)
