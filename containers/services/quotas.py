"""How much of their quota somebody uses, and the refusal to take more (SECURITY J01, J08).

Counted is every row that a person owns, until its node has confirmed that it is gone: what is in the trash still takes its disk. Containers of
restore drills don't count, for the panel makes them and takes them away.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Sum

from accounts.quotas import NAMES, Allowance, allowance_of
from containers.models import Container
from lormas.common.errors import FieldError, Refused
from lormas.common.sizes import size_word

DRILL: Final = "lormas.drill"
SIZES: Final = ("cpus", "memory_bytes", "disk_bytes")
WORDS: Final = {"cpus": "cores", "memory_bytes": "memory", "disk_bytes": "disk"}


def used_by(owner_id: UUID, *, but: UUID | None = None) -> dict[str, Any]:
    """What this person's containers take together: `{containers, cpus, memory_bytes, disk_bytes}`. `but`: without this one."""
    rows = Container.objects.order_by().filter(owner_id=owner_id).exclude(labels__has_key=DRILL)
    sums = (rows.exclude(pk=but) if but is not None else rows).aggregate(count=Count("pk"), **{f"sum_{name}": Sum(name) for name in SIZES})
    return {"containers": sums["count"], **{name: sums[f"sum_{name}"] or 0 for name in SIZES}}


def standing_of(owner_id: UUID) -> dict[str, dict[str, Any]]:
    """For eyes: field -> `{used, allowed}`; allowed None: no limit."""
    allowance, used = allowance_of(owner_id), used_by(owner_id)
    return {name: {"used": used[name], "allowed": getattr(allowance, name)} for name in NAMES}


def take(container: Container, *, user: Any) -> None:
    """May its owner have this container, not yet written, beside all others? Inside the transaction that writes it: who else takes for the
    same person waits until it ends. Where the owner's disk is limited and the container names no limit, it gets `CONTAINER_DISK_LIMIT`.

    Raises:
        Refused `quota`; `extra["quota"]` has `{resource, used, allowed, asked}` for each that is too small.
    """
    allowance = _locked(container)
    if allowance is None:
        return
    if allowance.disk_bytes is not None and not container.disk_bytes:
        container.disk_bytes = settings.CONTAINER_DISK_LIMIT
    asked = {"containers": 1, **{name: getattr(container, name) for name in SIZES}}
    _check(allowance, asked, used_by(container.owner_id), container, user=user)


def grow(container: Container, before: dict[str, Any], *, user: Any) -> None:
    """May its owner have it with its new limits? `before`: limits that changed -> what they were. Less is always allowed, over the quota or not. As
    `take`."""
    grown = [name for name in SIZES if name in before and (getattr(container, name) > before[name] or not getattr(container, name))]
    if not grown:
        return
    allowance = _locked(container)
    if allowance is not None:
        asked = {name: getattr(container, name) for name in grown}
        _check(allowance, asked, used_by(container.owner_id, but=container.pk), container, user=user)


def _locked(container: Container) -> Allowance | None:
    """None: nothing is limited, and nobody waits for nobody."""
    if not allowance_of(container.owner_id).is_limited:
        return None
    found = allowance_of(container.owner_id, lock=True)
    return found if found.is_limited else None


def _check(allowance: Allowance, asked: dict[str, Any], used: dict[str, Any], container: Container, *, user: Any) -> None:
    short: list[dict[str, Any]] = []
    wrong: list[FieldError] = []
    whose = "Your" if getattr(user, "pk", None) == container.owner_id else f"{container.owner.label}'s"
    for name, amount in asked.items():
        most = getattr(allowance, name)
        unlimited = name in SIZES and not amount
        if most is None or not (unlimited or used[name] + amount > most + (1e-6 if name == "cpus" else 0)):
            continue
        short.append({"resource": name, "used": used[name], "allowed": most, "asked": amount})
        wrong.append(FieldError(f"limits.{name}" if name in SIZES else "", _sentence(name, whose, most, used[name], amount), "quota"))
    if short:
        raise Refused(wrong[0].message, code="quota", errors=wrong, extra={"rule": "quota", "quota": short})


def _sentence(name: str, whose: str, most: Any, used: Any, asked: Any) -> str:
    if name == "containers":
        return f"{whose} quota is {most} containers, and there are {used} (the trash counts): delete one for good, or ask an administrator for more."
    if not asked:
        return f"{whose} quota limits the {WORDS[name]} of all containers together: give this one a limit."
    shown = [_cores(value) if name == "cpus" else size_word(value) for value in (most, used, max(0, most - used), asked)]
    what = "" if name == "cpus" else f" of {WORDS[name]}"
    return f"{whose} quota is {shown[0]}{what}: {shown[1]} are in use, {shown[2]} are left, and this asks for {shown[3]}."


def _cores(value: float) -> str:
    return f"{value:g} core" if value == 1 else f"{value:g} cores"
