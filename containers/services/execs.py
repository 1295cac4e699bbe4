"""Commands and terminals inside containers: who ran what, and whether it is recorded. The running itself is the live room's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from agent.protocol.inside import ProcessSignal, RecordingDelete, TerminalKill
from audit.services import Actor, record
from containers import logs, uses
from containers.models import Container, ExecRecord, RecordingPolicy
from containers.services.publish import target
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, Invalid

HISTORY_DAYS = 90
HISTORY_ROWS = 1000
SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGCONT", "SIGSTOP", "SIGWINCH")
COMMAND_CHARACTERS = 4000


def begin_exec(
    container: Container, *, user: Any, actor: Actor, command: str, working_dir: str = "", kind: str = ExecRecord.Kind.COMMAND
) -> ExecRecord:
    """Written down before it runs, so that what breaks off is in the history and the journal too."""
    uses.used(container.pk, "terminal" if kind == ExecRecord.Kind.TERMINAL else "command")
    with transaction.atomic():
        made = ExecRecord.objects.create(
            container=container, user=user, kind=kind, command=command[:COMMAND_CHARACTERS], working_dir=working_dir[:4096]
        )
        action = "containers.terminal" if kind == ExecRecord.Kind.TERMINAL else "containers.exec"
        record(action, actor=actor, target=target(container), after={"command": command[:COMMAND_CHARACTERS], "working_dir": working_dir})
    return made


def end_exec(made: ExecRecord, *, exit_code: int | None, error: str = "") -> None:
    """First end wins."""
    if made.kind == ExecRecord.Kind.COMMAND:  # a terminal that is only looked at is no use: its keys are
        uses.used(made.container_id, "command")
    ExecRecord.objects.filter(pk=made.pk, finished_at__isnull=True).update(finished_at=clock.now(), exit_code=exit_code, error=error[:64])


def must_record(container: Container, user: Any) -> bool:
    """Are this person's terminals in this container recorded? The egg's policy, else the role's, else the panel's setting."""
    policies = list(RecordingPolicy.objects.filter(egg_id=container.egg_id, egg__isnull=False)) if container.egg_id else []
    if not policies and getattr(user, "role_id", None):
        policies = list(RecordingPolicy.objects.filter(role_id=user.role_id))
    return policies[0].record if policies else bool(settings.TERMINAL_RECORDING)


def set_policy(*, actor: Actor, record_terminals: bool, role: Any = None, egg: Any = None) -> RecordingPolicy:
    """One word per role or egg; a later one replaces it."""
    if (role is None) == (egg is None):
        raise Invalid("Name a role or an egg.", errors=[FieldError("role", "Name either a role or an egg, not both.")])
    with transaction.atomic():
        found, _ = RecordingPolicy.objects.update_or_create(role=role, egg=egg, defaults={"record": record_terminals})
        record("recordings.policy_set", actor=actor, after={"role": str(role or ""), "egg": str(egg or ""), "record": record_terminals})
    return found


def remove_policy(policy: RecordingPolicy, *, actor: Actor) -> None:
    with transaction.atomic():
        record(
            "recordings.policy_removed", actor=actor, before={"role": str(policy.role or ""), "egg": str(policy.egg or ""), "record": policy.record}
        )
        policy.delete()


def signal_process(container: Container, *, pid: int, signal: str, actor: Actor) -> None:
    """Raises Conflict `no_such_process`, NodeUnavailable..."""
    uses.used(container.pk, "command")
    logs.ask(container, "process.signal", ProcessSignal(pid=pid, signal=signal))
    record("containers.process_signal", actor=actor, target=target(container), after={"pid": pid, "signal": signal})


def kill_terminal(container: Container, *, name: str, actor: Actor) -> None:
    """End it for everybody who looks at it."""
    logs.ask(container, "terminal.kill", TerminalKill(name=name))
    record("containers.terminal_ended", actor=actor, target=target(container), after={"terminal": name})


def delete_recording(container: Container, *, recording_id: str, actor: Actor) -> None:
    logs.ask(container, "recording.delete", RecordingDelete(id=recording_id))
    record("containers.recording_deleted", actor=actor, target=target(container), after={"recording": recording_id})


def require_running(container: Container) -> None:
    """Raises Conflict `not_running`, before anything is written down."""
    if container.observed and container.observed not in ("running", "paused", "restarting"):
        raise Conflict("The container does not run: start it first.", code="not_running", extra={"state": container.status, "allowed": ["start"]})


def forget_old_history() -> int:
    """Retention, in chunks."""
    removed = 0
    while True:
        ids = list(ExecRecord.objects.filter(started_at__lt=clock.now() - timedelta(days=HISTORY_DAYS)).values_list("pk", flat=True)[:1000])
        if not ids:
            return removed
        removed += ExecRecord.objects.filter(pk__in=ids).delete()[0]
