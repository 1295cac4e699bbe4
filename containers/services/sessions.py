"""Session containers: over all people, no more than `MAX_SESSIONS` are wanted running at a time."""

from __future__ import annotations

from django.conf import settings
from django.contrib.contenttypes.models import ContentType

from containers.models import Container
from containers.states import Desired
from lormas.common.errors import Refused


def take_place(container: Container) -> None:
    """May this one run, too? Nothing is asked of containers that are no session. Inside the transaction that wants it running from then on: who
    else asks for a place waits until that ends. One that was stopped, by hand or for being idle, has given its place away.

    Raises:
        Refused `too_many_sessions`; `extra` has `used` and `allowed`.
    """
    if not container.is_session:
        return
    # The row that says what a container is stands for all of them; `no_key`: rows that merely name it are not held up.
    ContentType.objects.select_for_update(no_key=True).get(app_label="containers", model="container")
    used = Container.objects.alive().filter(is_session=True, desired=Desired.RUNNING).exclude(pk=container.pk).count()
    if used >= settings.MAX_SESSIONS:
        raise Refused(
            f"{used} session containers run, and no more than {settings.MAX_SESSIONS} may at a time: stop one, or ask an administrator for more.",
            code="too_many_sessions",
            extra={"rule": "too_many_sessions", "used": used, "allowed": settings.MAX_SESSIONS},
        )
