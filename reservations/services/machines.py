"""Acts on machines: registering, changing, removing, marking broken and fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.deletion import ProtectedError

from audit.services import Actor, record
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, Invalid, Problem, Refused
from lormas.common.jobs import enqueue_on_commit
from reservations.hostkeys import fingerprint
from reservations.models import Allocation, Machine
from reservations.secrets import lock
from reservations.services.publish import machine_changed, target_of
from reservations.states import HOLD_DONE, Condition, Hold
from reservations.validation import check_machine

FIELDS = ("name", "description", "host", "port", "user", "labels", "allow_sudo", "node", "container_id")
WHERE = frozenset({"host", "port"})
MAX_IMPORT = 1000


def _told(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the journal may know: of secrets only that they were given."""
    told = {name: value for name, value in fields.items() if name in FIELDS and name != "node"}
    if fields.get("node") is not None:
        told["node"] = fields["node"].name
    return told | {name: "given" for name in ("password", "private_key") if fields.get(name)}


def _save(machine: Machine, **kwargs: Any) -> None:
    try:
        with transaction.atomic():
            machine.save(**kwargs)
    except IntegrityError as error:
        if "name" in str(error):
            raise Conflict(
                f"There is already a machine called {machine.name}: choose another name.", code="name_taken",
                errors=[FieldError("name", "Taken.", "unique")],
            ) from error  # fmt: skip
        raise


def checked(fields: dict[str, Any], *, new: bool) -> dict[str, Any]:
    """The fields, if they keep the rules. Raises Invalid."""
    wrong = check_machine(fields)
    if new:
        wrong += [FieldError(name, "This is needed.", "required") for name in ("name", "host", "user") if not fields.get(name)]
        if not fields.get("password") and not fields.get("private_key"):
            wrong.append(FieldError("password", "Give a password or a private key, with which Lormas signs in there.", "required"))
    if wrong:
        raise Invalid("The machine's settings are not valid.", errors=wrong)
    return fields


@transaction.atomic
def register_machine(*, actor: Actor, **fields: Any) -> Machine:
    """A new machine; it is looked at as soon as this is committed. Raises Invalid, Conflict(`name_taken`)."""
    checked(fields, new=True)
    machine = Machine(**{name: fields[name] for name in FIELDS if fields.get(name) is not None})
    machine.password, machine.private_key = lock(fields.get("password") or ""), lock(fields.get("private_key") or "")
    machine.check_due = clock.now()
    _save(machine, force_insert=True)
    record("machines.create", actor=actor, target=target_of(machine), after=_told(fields))
    machine_changed(machine.pk)
    enqueue_on_commit("reservations.tasks.look", str(machine.pk))
    return machine


@transaction.atomic
def update_machine(machine: Machine, *, actor: Actor, **changes: Any) -> Machine:
    """Change what people set. Another address forgets the pinned host key; empty secrets are taken away.

    Raises:
        Invalid; Conflict `name_taken`; Conflict `machine_held`: its address can't change while an account is on it.
    """
    checked(changes, new=False)
    moved = {name for name in WHERE if name in changes and changes[name] != getattr(machine, name)}
    if moved and machine.allocations.filter(began_at__isnull=False, closed_at__isnull=True).exists():
        raise Conflict("Somebody holds this machine: release it before you change its address.", code="machine_held")
    before = {name: getattr(machine, name) for name in FIELDS if name in changes and name != "node"}
    for name, value in changes.items():
        if name in FIELDS:
            setattr(machine, name, value)
    for name in ("password", "private_key"):
        if changes.get(name) is not None:
            setattr(machine, name, lock(changes[name]))
    if not machine.password and not machine.private_key:
        raise Invalid("Lormas needs a way to sign in there.", errors=[FieldError("password", "Give a password or a private key.", "required")])
    if moved:
        machine.host_key = machine.host_key_alarm = ""
    machine.check_due, machine.reachable = clock.now(), None if moved else machine.reachable
    columns = [name for name in changes if name in FIELDS or name in ("password", "private_key")]
    _save(machine, update_fields=[*columns, "host_key", "host_key_alarm", "check_due", "reachable", "updated_at"])
    record("machines.update", actor=actor, target=target_of(machine), before=before, after=_told(changes))
    machine_changed(machine.pk)
    enqueue_on_commit("reservations.tasks.look", str(machine.pk))
    return machine


@transaction.atomic
def delete_machine(machine: Machine, *, actor: Actor) -> None:
    """Forget a machine that nobody holds or has booked; its history of finished reservations goes with it.

    Raises:
        Conflict `machine_held`.
    """
    held = machine.allocations.filter(closed_at__isnull=True).select_related("reservation").order_by("starts_at").first()
    if held is not None:
        what = "an account on it is not proved gone" if held.hold == Hold.DIRTY else f"{held.reservation.owner_label} holds or has booked it"
        raise Conflict(
            f"{machine.name} can't be removed: {what}. Release that first.", code="machine_held", extra={"reservation": str(held.reservation_id)}
        )
    target = target_of(machine)
    machine.allocations.filter(closed_at__isnull=False).delete()
    try:
        machine.delete()
    except ProtectedError as error:  # booked in this very moment
        raise Conflict(f"{machine.name} can't be removed: somebody has just booked it.", code="machine_held") from error
    record("machines.delete", actor=actor, target=target)
    machine_changed(target.id)


def import_machines(rows: Sequence[Mapping[str, Any]], *, actor: Actor, localhost_as: str = "", update: bool = False) -> list[tuple[Machine, bool]]:
    """Register many, all or nothing; each with whether it is new.

    Args:
        localhost_as: the host that `localhost`, `127.0.0.1` and `::1` are replaced by ("" = they stay): for panels inside a container.
        update: a machine of the same name is changed instead of refused.

    Raises:
        Invalid with errors named `machines.<n>.<field>`; Conflict; Refused `too_many`.
    """
    if len(rows) > MAX_IMPORT:
        raise Refused(f"At most {MAX_IMPORT} machines at a time.", code="too_many")
    wrong: list[FieldError] = []
    done: list[tuple[Machine, bool]] = []
    with transaction.atomic():
        for index, row in enumerate(rows):
            fields = dict(row)
            if localhost_as and fields.get("host") in ("localhost", "127.0.0.1", "::1"):
                fields["host"] = localhost_as
            known = Machine.objects.filter(name__iexact=str(fields.get("name", ""))).first() if update else None
            try:
                done.append((update_machine(known, actor=actor, **fields), False) if known else (register_machine(actor=actor, **fields), True))
            except Problem as problem:
                wrong += [FieldError(f"machines.{index}.{error.field}", error.message, error.code) for error in problem.errors] or [
                    FieldError(f"machines.{index}", problem.detail, problem.code)
                ]
        if wrong:
            raise Invalid("Some machines can't be registered; none was.", errors=wrong[:100])
    return done


@transaction.atomic
def mark_broken(machine: Machine, *, actor: Actor, reason: str) -> Machine:
    """Take a machine out of the pool. Who holds it keeps it; nobody new gets it."""
    set_condition(machine.pk, Condition.BROKEN, reason or "Marked by hand.", only_from=(Condition.OK, Condition.QUARANTINED, Condition.BROKEN))
    record("machines.broken", actor=actor, target=target_of(machine), after={"reason": reason})
    machine.refresh_from_db()
    return machine


@transaction.atomic
def mark_fixed(machine: Machine, *, actor: Actor, accept_host_key: str = "", set_up_anew: bool = False) -> Machine:
    """Give a broken or quarantined machine back to the pool; it must then pass a check before anybody gets it.

    Args:
        accept_host_key: fingerprint (`SHA256:…`) of the key to pin from now on, where the host key changed.
        set_up_anew: the machine was installed from scratch: accounts that could not be proved gone are written off.

    Raises:
        Conflict `host_key_changed` (says which), `not_clean`.
    """
    before = {"condition": machine.condition, "reason": machine.condition_reason, "host_key": fingerprint(machine.host_key)}
    if machine.host_key_alarm:
        answered = fingerprint(machine.host_key_alarm)
        if accept_host_key != answered:
            raise Conflict(
                f"Its host key changed to {answered}. Compare it on the machine itself; if it is right, send accept_host_key with it.",
                code="host_key_changed", extra={"fingerprint": answered, "pinned": fingerprint(machine.host_key)},
            )  # fmt: skip
        machine.host_key, machine.host_key_alarm = machine.host_key_alarm, ""
    dirty = machine.allocations.filter(hold=Hold.DIRTY, closed_at__isnull=True)
    if set_up_anew:
        dirty.update(hold=Hold.GIVEN_UP, closed_at=clock.now(), error="Written off: the machine was set up anew.")
        Allocation.objects.filter(machine=machine, hold__in=HOLD_DONE).exclude(uid=None).update(uid=None)
    elif dirty.exists():
        raise Conflict(
            "An account on it is not proved gone. Retry the cleaning; or, if the machine was installed anew, say set_up_anew.",
            code="not_clean", extra={"allowed": ["clean", "set_up_anew"]},
        )  # fmt: skip
    now = clock.now()
    Machine.objects.filter(pk=machine.pk).update(
        condition=Condition.OK, condition_reason="", condition_since=now, host_key=machine.host_key, host_key_alarm="",
        failures=0, reachable=None, reach_reason="Waiting to be looked at.", check_due=now, updated_at=now,
    )  # fmt: skip
    machine.refresh_from_db()
    after = {"condition": machine.condition, "host_key": fingerprint(machine.host_key), "set_up_anew": set_up_anew}
    record("machines.fixed", actor=actor, target=target_of(machine), before=before, after=after)
    machine_changed(machine.pk)
    enqueue_on_commit("reservations.tasks.look", str(machine.pk))
    return machine


def set_condition(machine_id: UUID, condition: Condition, reason: str, *, only_from: tuple[str, ...] = (Condition.OK,)) -> bool:
    """Conditional UPDATE; False where it was in another condition. A person's "broken" is never softened by a machine's trouble."""
    now = clock.now()
    moved = Machine.objects.filter(pk=machine_id, condition__in=only_from).update(
        condition=condition, condition_reason=reason[:500], condition_since=now, updated_at=now
    )
    if moved:
        machine_changed(machine_id)
    return bool(moved)
