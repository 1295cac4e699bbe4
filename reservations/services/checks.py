"""Looking at machines: do they answer, who answers, how fast; and what that means for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from audit.services import SYSTEM, Actor, record
from lormas.common import clock
from lormas.common.crypto import WrongKey
from reservations import hands
from reservations.hands import Job, Outcome
from reservations.hostkeys import fingerprint
from reservations.models import Machine
from reservations.secrets import endpoint_of
from reservations.services.machines import set_condition
from reservations.services.publish import machine_changed, target_of
from reservations.states import Condition

log = structlog.get_logger(__name__)
AT_A_TIME = 200
OUR_FAULT = ("login_refused", "no_root", "failed")
"""A machine that answers, but on which Lormas can't work."""
GIVE_UP_AFTER = 3
"""So many such checks in a row, and a person has to look: broken."""


def check_machine(machine: Machine, *, actor: Actor) -> Machine:
    """Look at one now (bounded: see `hands.ssh.SECONDS`); blocks its thread. The machine as it is afterwards."""
    _look([machine])
    with transaction.atomic():
        record("machines.check", actor=actor, target=target_of(machine))
    machine.refresh_from_db()
    return machine


def check_due() -> int:
    """Look at all that are due; each is claimed by moving its due time on, so any number of sweeps look once."""
    now = clock.now()
    again = now + timedelta(seconds=settings.MACHINE_CHECK_SECONDS)
    due = Machine.objects.filter(Q(check_due__isnull=True) | Q(check_due__lte=now)).order_by("check_due")[:AT_A_TIME]
    mine = [machine for machine in due if Machine.objects.filter(pk=machine.pk, check_due=machine.check_due).update(check_due=again)]
    _look(mine)
    return len(mine)


def _look(machines: Sequence[Machine]) -> None:
    jobs = []
    for machine in machines:
        try:
            jobs.append(Job(machine.pk, "check", endpoint_of(machine)))
        except WrongKey as error:
            set_condition(machine.pk, Condition.BROKEN, f"Its credentials can't be read: {error}.")
    for outcome in hands.work(jobs):
        take_in(outcome)


def take_in(outcome: Outcome) -> None:
    """What any act on a machine tells about the machine itself; called for each outcome, whatever the act was."""
    with transaction.atomic():
        if outcome.code == "host_key_changed":
            _alarm(outcome)
            return
        _pin(outcome)
        _reached(outcome)


def _pin(outcome: Outcome) -> None:
    """The first key seen is the key from then on (of two that race, the first row to be written)."""
    endpoint, machine_id = outcome.job.endpoint, outcome.job.id
    if not outcome.host_key or endpoint.host_key or outcome.job.act != "check" or not (outcome.ok or outcome.code in OUR_FAULT):
        return
    pinned = Machine.objects.filter(pk=machine_id, host_key="", host=endpoint.host, port=endpoint.port).update(host_key=outcome.host_key)
    if pinned:
        machine = Machine.objects.get(pk=machine_id)
        record("machines.host_key_pinned", actor=SYSTEM, target=target_of(machine), after={"fingerprint": fingerprint(outcome.host_key)})


def _alarm(outcome: Outcome) -> None:
    """Another key answered: nothing is done there any more until a person decides."""
    endpoint = outcome.job.endpoint
    now = clock.now()
    machine = Machine.objects.filter(host=endpoint.host, port=endpoint.port, name=endpoint.name, host_key=endpoint.host_key).first()
    if machine is None:
        return
    raised = Machine.objects.filter(pk=machine.pk, host_key_alarm="").update(
        host_key_alarm=outcome.host_key, condition=Condition.BROKEN, condition_reason=outcome.detail[:500],
        condition_since=now, reachable=False, reach_reason="Its host key changed.", checked_at=now, updated_at=now,
    )  # fmt: skip
    if raised:
        log.error("machines.host_key_changed", machine=endpoint.name, pinned=fingerprint(endpoint.host_key), answered=fingerprint(outcome.host_key))
        after = {"pinned": fingerprint(endpoint.host_key), "answered": fingerprint(outcome.host_key)}
        record("machines.host_key_changed", actor=SYSTEM, target=target_of(machine), after=after, message=outcome.detail, outcome="failed")
        machine_changed(machine.pk)


def _reached(outcome: Outcome) -> None:
    """Reachability with latency. Only a check says that a machine is fine; any act may say that it does not answer."""
    endpoint, fine = outcome.job.endpoint, outcome.ok
    if outcome.job.act != "check" and outcome.code not in ("unreachable", "timeout", "login_refused", "no_root"):
        return
    found = Machine.objects.filter(host=endpoint.host, port=endpoint.port, name=endpoint.name)
    machine = found.first()
    if machine is None:
        return
    changes: dict[str, Any] = {
        "reachable": fine, "reach_reason": "" if fine else outcome.detail[:255], "checked_at": clock.now(),
        "failures": 0 if fine else F("failures") + 1,
    }  # fmt: skip
    if outcome.latency_ms is not None:
        changes["latency_ms"] = round(outcome.latency_ms, 1)
    found.update(**changes)
    if outcome.code in OUR_FAULT and machine.failures + 1 >= GIVE_UP_AFTER:
        set_condition(machine.pk, Condition.BROKEN, outcome.detail)
    if machine.reachable is not fine or machine.latency_ms is None:
        machine_changed(machine.pk)
