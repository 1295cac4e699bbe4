"""Auto-heal: what its health check calls unhealthy is restarted, not more often than helps."""

from __future__ import annotations

from datetime import timedelta

import structlog

from audit.services import SYSTEM, record
from containers.models import Container, ContainerSettings
from containers.services import power
from containers.services.publish import target
from containers.states import Desired, Status
from lormas.common import clock
from lormas.common.errors import Problem

log = structlog.get_logger(__name__)
MOST = 5
WINDOW = timedelta(minutes=30)


def heal() -> int:
    """Restart the unhealthy ones whose owner wants that; at the ceiling say so once and leave them. Returns how many were restarted."""
    sick = ContainerSettings.objects.filter(
        auto_heal=True,
        container__in=Container.objects.alive().unlocked().filter(desired=Desired.RUNNING, status=Status.RUNNING, health="unhealthy").values("pk"),
    ).select_related("container__node", "container__operation")
    count = 0
    for own in sick[:200]:
        count += _heal(own)
    return count


def _heal(own: ContainerSettings) -> bool:
    container, now = own.container, clock.now()
    recent = [text for text in own.healed_at if (at := clock.parse_rfc3339(text)) is not None and at > now - WINDOW]
    if len(recent) > MOST:
        return False  # one entry above the ceiling: that was told already
    # Claimed by conditional UPDATE: of two workers one heals.
    if not ContainerSettings.objects.filter(pk=own.pk, healed_at=own.healed_at).update(healed_at=[*recent, clock.rfc3339(now)]):
        return False
    if len(recent) == MOST:
        reason = f"Unhealthy, and {MOST} restarts in {WINDOW.seconds // 60} minutes did not help: it is left as it is."
        record("containers.heal_given_up", actor=SYSTEM, target=target(container), message=reason, outcome="failed")
        return False
    record("containers.heal", actor=SYSTEM, target=target(container), message=f"Unhealthy: restart {len(recent) + 1} of at most {MOST}.")
    try:
        power.act(container, "restart", user=None, actor=SYSTEM, automatic=True)
    except Problem as problem:
        log.info("containers.heal_put_off", container=str(container.pk), reason=problem.detail)
        return False
    return True
