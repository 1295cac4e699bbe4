"""A host port that turns out to be in use on the node by something that is no container of ours.

One that the panel chose is quietly replaced by another one of the node's range, a few times; one that a person named is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.db import IntegrityError, transaction

from agent.protocol.commands import CreatePayload
from audit.services import Actor, record
from containers.models import Container, Port
from containers.services import power
from containers.services.create import free_ports, registry_auth, render_spec
from containers.services.publish import announce, target
from containers.spec import as_kept
from containers.states import Desired, InstallState
from lormas.common import clock
from lormas.common.errors import Problem
from nodes import commands
from nodes.models import Command

MOST_TRIES = 8
LEAST_SECONDS = 60
_NUMBER = re.compile(r"(?::|\bport )(\d{1,5})\b", re.IGNORECASE)


def taken_in(detail: str, held: Iterable[int]) -> set[int]:
    """Which of the held ports a complaint is about: `0.0.0.0:25565: bind: address already in use`. All of them, if it names none."""
    held = set(held)
    return {int(number) for number in _NUMBER.findall(detail)} & held or held


def words(container: Container, detail: str) -> str:
    """For a person: which port, and what helps."""
    node = container.node.name if container.node is not None else "the node"
    numbers = sorted(taken_in(detail, (port.host_port for port in container.ports.all())))
    if not numbers:
        return detail
    what = f"Port {numbers[0]} of {node} is" if len(numbers) == 1 else f"Ports {', '.join(map(str, numbers))} of {node} are"
    return f"{what} in use there by something that is no container of Lormas. Choose another one, or leave it to Lormas to find one. ({detail})"


def with_another(container: Container, command: Command) -> bool:
    """Take another number and ask the node again, under the same operation. In the transaction that settles the command.

    False: nothing was changed; a person named that port, it was tried `MOST_TRIES` times, or no port is free.
    """
    node, operation = container.node, container.operation
    if node is None or operation is None or not operation.is_open:
        return False
    failed = list(Command.objects.filter(operation=operation, error_code="port_taken").order_by("sequence").values_list("error_detail", flat=True))
    rows = list(Port.objects.select_for_update().filter(container=container))
    taken = taken_in(command.error_detail, (row.host_port for row in rows))
    wrong = [row for row in rows if row.host_port in taken]
    if len(failed) > MOST_TRIES or not wrong or not all(row.automatic for row in wrong):
        return False
    tried = {int(number) for detail in failed for number in _NUMBER.findall(detail)}
    first = command.operation is not None and command.operation.kind == "container.create"
    try:
        with transaction.atomic():
            moved = [_move([row for row in wrong if row.host_port == number], tried=tried) for number in sorted(taken)]
            spec = render_spec(container)
    except Problem:
        return False
    container.spec, container.spec_changed = as_kept(spec), not first
    fields = {"spec": container.spec, "spec_changed": container.spec_changed}
    if command.kind == "container.install":  # its script has ended well, only the start has not
        container.install_state = InstallState.DONE
        fields["install_state"] = InstallState.DONE
    Container.objects.filter(pk=container.pk).update(**fields)
    notes = [f"Port {old} is in use on the node by something else: its port is {new} now." for old, new in moved]
    # A first try leaves nothing on its node, its log neither: what was told there is told again.
    again = [f"Port {number} is in use on the node by something else." for detail in failed[:-1] for number in _NUMBER.findall(detail)]
    left = (operation.deadline - clock.now()).total_seconds()
    commands.enqueue(
        node,
        "container.create",
        payload=CreatePayload(
            spec=spec,
            start=container.desired == Desired.RUNNING,
            replace=not first,
            stop=power.stop_spec(container, None),
            registry_auth=registry_auth(container),
            notes=[*(dict.fromkeys(again) if first else ()), *notes],
        ),
        operation=operation,
        subject_id=container.pk,
        epoch=container.epoch,
        deadline_seconds=max(LEAST_SECONDS, left),
    )
    record(
        "containers.port_moved",
        actor=Actor("node", id=str(node.pk), label=node.name),
        target=target(container),
        before={"ports": [old for old, _ in moved]},
        after={"ports": [new for _, new in moved]},
        message=" ".join(notes)[:500],
    )
    announce(container)
    return True


def _move(rows: list[Port], *, tried: set[int]) -> tuple[int, int]:
    """(old, new) of rows that share a number. Raises Problem if none is free.

    Not simply the next one: what is in use often stands in a row.
    """
    node, old = rows[0].node, rows[0].host_port
    size = node.port_last - node.port_first + 1
    free = [port for port in free_ports(node, [row.protocol for row in rows], most=size) if port not in tried]
    begin = (old * 7919 + len(tried)) % len(free) if free else 0
    for number in [*free[begin:], *free[:begin]][:50]:
        try:
            with transaction.atomic():
                for row in rows:
                    row.host_port = number
                    row.container_port = number if row.follows else row.container_port
                    row.save(update_fields=["host_port", "container_port"])
            return old, number
        except IntegrityError:  # a rival was faster
            continue
    raise Problem(f"{node.name} has no free port left.", code="no_free_port")
