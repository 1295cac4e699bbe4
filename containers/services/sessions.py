"""Session containers: over all people, no more than `MAX_SESSIONS` are wanted running at a time."""

from __future__ import annotations

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet

from containers.models import BackupWork, Container, Migration
from containers.models.moving import HELD
from containers.states import Desired
from lormas.common.errors import Refused


def with_place() -> QuerySet[Container]:
    """Those that have one: wanted running, or stopped for the time of their own backup, restore or move, which starts them again at its end. Nobody
    asked for these to stop, so nobody else gets their place meanwhile."""
    backed_up = BackupWork.objects.filter(Q(options__restart=True) | Q(options__start=True), is_open=True)
    moved = Migration.objects.filter(phase__in=HELD, was_running=True)
    return Container.objects.alive().filter(
        Q(desired=Desired.RUNNING) | Q(pk__in=backed_up.values("container_id")) | Q(pk__in=moved.values("container_id")), is_session=True
    )


def take_place(container: Container) -> None:
    """May this one run, too? Nothing is asked of containers that are no session, or that have their place. Inside the transaction that wants it
    running from then on: who else asks for a place waits until that ends. One that was stopped, by hand or for being idle, has given its place away.

    Raises:
        Refused `too_many_sessions`; `extra` has `used` and `allowed`.
    """
    if not container.is_session:
        return
    # The row that says what a container is stands for all of them; `no_key`: rows that merely name it are not held up.
    ContentType.objects.select_for_update(no_key=True).get(app_label="containers", model="container")
    if with_place().filter(pk=container.pk).exists():
        return
    used = with_place().count()
    if used >= settings.MAX_SESSIONS:
        raise Refused(
            f"{used} session containers run, and no more than {settings.MAX_SESSIONS} may at a time: stop one, or ask an administrator for more.",
            code="too_many_sessions",
            extra={"rule": "too_many_sessions", "used": used, "allowed": settings.MAX_SESSIONS},
        )
