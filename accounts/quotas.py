"""What a person may have in containers. Their own quota goes before their role's, as a whole; administrators have none (docs/operations/quotas.md).

This room keeps the numbers; `containers.services.quotas` counts, inside the transaction that takes more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final
from uuid import UUID

from accounts.capabilities import ADMINISTRATOR
from accounts.models import Quota, Role, User
from lormas.common.database import one
from lormas.common.errors import Forbidden


@dataclass(frozen=True, slots=True)
class Allowance:
    """The most; None = no limit."""

    containers: int | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None

    @property
    def is_limited(self) -> bool:
        return any(value is not None for value in asdict(self).values())

    def beyond(self, other: Allowance) -> list[str]:
        """The fields that allow more here than there."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in NAMES}
        return [name for name, (mine, theirs) in pairs.items() if theirs is not None and (mine is None or mine > theirs)]


NAMES: Final = tuple(field.name for field in fields(Allowance))
NO_LIMIT: Final = Allowance()


def _read(row: Quota | None) -> Allowance | None:
    return Allowance(**{name: getattr(row, name) for name in NAMES}) if row is not None else None


def of_role(role: Role) -> Allowance | None:
    """None: the role has no quota."""
    return _read(getattr(role, "quota", None))


def of_person(user: User) -> Allowance | None:
    """Their own; None: that of their role counts."""
    return _read(getattr(user, "quota", None))


def is_exempt(user: User) -> bool:
    """No quota counts for them, whatever is written down."""
    return user.is_superuser or (user.role is not None and user.role.slug == ADMINISTRATOR)


def allowance_of(user_id: UUID, *, lock: bool = False) -> Allowance:
    """What counts for this person now. `lock`: inside a transaction, others who ask with `lock` for this person wait until it ends (J01); the lock
    does not stand in the way of rows that merely name the person. On SQLite, transactions follow one another anyway."""
    rows = User.objects.select_related("role")
    if lock:
        rows = rows.select_for_update(of=("self",), no_key=True)
    user = one(rows.filter(pk=user_id))
    if user is None or is_exempt(user):
        return NO_LIMIT
    role = Quota.objects.filter(role_id=user.role_id) if user.role_id is not None else Quota.objects.none()
    return _read(one(Quota.objects.filter(user_id=user_id)) or one(role)) or NO_LIMIT


def check_held(by: User, allowance: Allowance | None) -> None:
    """Raises Forbidden `quota_not_held` if this (None: no limit), a role's or a person's, allows more than what counts for `by`."""
    wider = (allowance or NO_LIMIT).beyond(allowance_of(by.pk))
    if wider:
        raise Forbidden(f"That is more than your own quota: {', '.join(wider)}.", code="quota_not_held", extra={"quota": wider})


def give(subject: User | Role, allowance: Allowance | None, *, by: User) -> dict[str, Any]:
    """Write it (None: take it away), inside the caller's transaction, who has asked whether `by` may touch the subject and keeps the journal.

    Returns:
        {"before": ..., "after": ...}, each as a dict or None; empty if nothing changes.

    Raises:
        Forbidden `quota_not_held`: nobody gives more than they have themselves.
    """
    whose = {"user": subject} if isinstance(subject, User) else {"role": subject}
    row = Quota.objects.filter(**whose).first()
    before = _read(row)
    if before == allowance:
        return {}
    role = subject.role if isinstance(subject, User) else None
    check_held(by, allowance or (of_role(role) if role is not None else None))
    if allowance is None:
        Quota.objects.filter(**whose).delete()
    else:
        Quota.objects.update_or_create(**whose, defaults=asdict(allowance))
    return {"before": asdict(before) if before is not None else None, "after": asdict(allowance) if allowance is not None else None}
