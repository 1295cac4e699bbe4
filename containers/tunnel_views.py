"""The tunnel's part of the Settings tab."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_POST

from containers.access import get_container
from containers.models import Container
from containers.services import tunnels
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, person, signed_in

POLL = "every 4s"
WORDS: dict[str, tuple[Any, str]] = {
    "off": (gettext_lazy("Off"), "grey"),
    "waiting": (gettext_lazy("Waiting for the container"), "grey"),
    "starting": (gettext_lazy("Starting"), "blue"),
    "connected": (gettext_lazy("Connected"), "green"),
    "failed": (gettext_lazy("Failed, tried again"), "red"),
    "unknown": (gettext_lazy("Unknown"), "amber"),
}


def part(container: Container, *, ask: bool) -> dict[str, Any]:
    """For `_tunnel.html`. Without `ask` it is the last known word, and the page asks for a newer one when it is there."""
    tunnel = tunnels.shown(container, ask=ask)
    word, tone = WORDS.get(tunnel.state, WORDS["unknown"])
    now = "load" if tunnel.wanted else ""
    poll = (POLL if tunnel.is_passing else "") if ask else now
    return {"tunnel": tunnel, "word": word, "tone": tone, "poll": poll}


@require_GET
@signed_in
def tunnel_state(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Fragment: what its node says of it now."""
    container = get_container(person(request), container_id)
    return render(request, "containers/_tunnel_state.html", {"container": container, **part(container, ask=True)})


@require_POST
@signed_in
def act(request: HttpRequest, container_id: UUID, action: str) -> HttpResponse:
    """`start` (with a token, or the kept one), `stop`, `forget`."""
    from containers.settings_views import show

    user = person(request)
    container = get_container(user, container_id, "containers.edit")
    try:
        if action == "start":
            tunnels.start(container, token=request.POST.get("token", "").strip(), actor=user.as_actor())
            toast = Toast(_("Tunnel started"))
        else:
            tunnels.stop(container, actor=user.as_actor(), forget=action == "forget")
            toast = Toast(_("Tunnel stopped"), _("Its token is forgotten.") if action == "forget" else "")
    except Problem as problem:
        words = " ".join(error.message for error in problem.errors) or problem.detail
        return show(request, container, tunnel_problem=words, status=problem.status)
    return answer(request, toast, to=f"{reverse('containers:settings', args=[container.pk])}#tunnel")
