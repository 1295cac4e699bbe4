"""What a container should be, what it is seen to be, and the one word that people read (pure)."""

from __future__ import annotations

from django.db.models import TextChoices


class Desired(TextChoices):
    """What its owner wants."""

    RUNNING = "running", "Running"
    STOPPED = "stopped", "Stopped"
    DELETED = "deleted", "Deleted"


class Status(TextChoices):
    """The word on the page. Derived by `derive`, stored so that lists can filter by it."""

    CREATING = "creating", "Creating"
    INSTALLING = "installing", "Installing"
    INSTALL_FAILED = "install_failed", "Install failed"
    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    STOPPING = "stopping", "Stopping"
    STOPPED = "stopped", "Stopped"
    RESTARTING = "restarting", "Restarting"
    CRASHED = "crashed", "Crashed"
    CRASH_LOOP = "crash_loop", "Crash loop"  # crashed often in a row: tried again rarely
    FAILED = "failed", "Failed"  # could not be created
    MISSING = "missing", "Missing"  # the engine has lost it: somebody removed it by hand
    MIGRATING = "migrating", "Moving"  # to another node
    UNKNOWN = "unknown", "Unknown"  # the node does not tell
    DELETING = "deleting", "Deleting"
    DELETED = "deleted", "Deleted"


PASSING: frozenset[str] = frozenset(
    {Status.CREATING, Status.INSTALLING, Status.STARTING, Status.STOPPING, Status.RESTARTING, Status.MIGRATING, Status.DELETING}
)
"""States that must end by themselves, by `Container.status_deadline`. Without one: what is removed for good (its node is told again until it has
done so), and what is made anew from a backup (its work has the deadline)."""

ACTION_STATUS: dict[str, str] = {
    "create": Status.CREATING,
    "adopt": Status.CREATING,
    "install": Status.INSTALLING,
    "reinstall": Status.INSTALLING,
    "start": Status.STARTING,
    "stop": Status.STOPPING,
    "restart": Status.RESTARTING,
    "kill": Status.STOPPING,
    "delete": Status.DELETING,
    "migrate": Status.MIGRATING,
}

ALLOWED_ACTIONS: dict[str, frozenset[str]] = {
    Status.CREATING: frozenset({"kill", "delete"}),
    Status.INSTALLING: frozenset({"kill", "delete"}),
    Status.INSTALL_FAILED: frozenset({"reinstall", "delete"}),
    Status.STARTING: frozenset({"stop", "restart", "kill", "delete"}),
    Status.RUNNING: frozenset({"stop", "restart", "kill", "pause", "reinstall", "delete"}),
    Status.PAUSED: frozenset({"unpause", "stop", "kill", "delete"}),
    Status.STOPPING: frozenset({"kill", "delete"}),
    Status.STOPPED: frozenset({"start", "restart", "reinstall", "delete"}),
    Status.RESTARTING: frozenset({"kill", "delete"}),
    Status.CRASHED: frozenset({"start", "restart", "reinstall", "delete"}),
    Status.CRASH_LOOP: frozenset({"start", "restart", "reinstall", "delete"}),
    Status.FAILED: frozenset({"start", "reinstall", "delete"}),
    Status.MISSING: frozenset({"start", "reinstall", "delete"}),
    Status.MIGRATING: frozenset(),
    Status.UNKNOWN: frozenset({"delete"}),
    Status.DELETING: frozenset({"delete"}),
    Status.DELETED: frozenset(),
}
"""What a person may ask for in each state. Anything else is 409 and names these."""


class InstallState(TextChoices):
    """How far its egg's install script is."""

    NONE = "", "No script"
    NEEDED = "needed", "Not installed yet"
    DONE = "done", "Installed"
    FAILED = "failed", "Failed"


def allowed_actions(status: str, *, desired: str, installs: bool = True) -> frozenset[str]:
    """`ALLOWED_ACTIONS`, and `stop` for what has ended but waits to be started again by its restart policy; without `reinstall` where there is
    no install script."""
    waits = status in (Status.STOPPED, Status.CRASHED, Status.CRASH_LOOP) and desired == Desired.RUNNING
    found = ALLOWED_ACTIONS.get(status, frozenset()) | (frozenset({"stop"}) if waits else frozenset())
    return found if installs else found - {"reinstall"}


def derive(
    *,
    observed: str,
    desired: str,
    exit_code: int | None,
    oom_killed: bool,
    with_engine: bool = False,
    readiness: str = "",
    health: str = "",
    install: str = "",
) -> str:
    """The word for an observation, when no action of ours is running.

    An exit counts as a crash only if nobody asked for it. What was asked for is in `desired`, never in the report's cause: a program that dies a
    moment after our own start is seen together with it. `with_engine`: it ended when its engine went, which ends its containers by two signals.

    What runs is `starting` until its console has said that it is ready; where nothing was to be said, until its health check is over the start.
    """
    if install in (InstallState.NEEDED, InstallState.FAILED) and observed in ("", "creating", "created", "removed"):
        return Status.INSTALL_FAILED
    if observed == "running" and (readiness == "waiting" or (not readiness and health == "starting")):
        return Status.STARTING
    if observed == "exited":
        asked_for = desired != Desired.RUNNING or (with_engine and exit_code in (137, 143) and not oom_killed)
        return Status.CRASHED if not asked_for and (oom_killed or exit_code not in (0, None)) else Status.STOPPED
    return {
        "": Status.MISSING if desired != Desired.DELETED else Status.DELETED,  # overtaken before its node made it
        "creating": Status.CREATING,
        "created": Status.STOPPED,
        "running": Status.RUNNING,
        "paused": Status.PAUSED,
        "restarting": Status.RESTARTING,
        "removed": Status.MISSING if desired != Desired.DELETED else Status.DELETED,
    }.get(observed, Status.UNKNOWN)
