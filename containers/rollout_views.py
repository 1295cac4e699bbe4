"""The page that moves containers to a version of their egg, and what came of earlier moves."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from containers import services
from containers.access import rights_on, visible_containers
from containers.api.rollouts import editable, get_rollout, may_revert, may_roll_out, version_for, visible_rollouts
from containers.models import RolloutItem
from eggs.access import get_egg
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, page_of, person, signed_in

MAX_SHOWN = 500


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def rollout(request: HttpRequest, egg_id: UUID) -> HttpResponse:
    """Tick containers, see what each would get, move them. `?version=` chooses another than the current one."""
    user = person(request)
    egg = get_egg(user, egg_id, "eggs.view")
    given = request.POST.get("version") or request.GET.get("version", "")
    version = version_for(egg, int(given) if given.isascii() and given.isdigit() and len(given) < 10 else None)
    if request.method == "POST":
        may_roll_out(user)
        here = f"{reverse('containers:rollout', args=[egg.pk])}?version={version.number}"
        ids = _ids(request)
        if not ids:
            return answer(request, Toast(_("Nothing was moved"), _("Tick the containers that are to be moved."), tone="amber"), to=here)
        try:
            chosen = editable(user, egg, ids)
            made = services.roll_out(version, [container.pk for container in chosen], user=user, actor=user.as_actor())
        except Problem as problem:
            return answer(request, Toast(_("Nothing was moved"), problem.detail, tone="red"), to=here)
        moved = made.items.filter(state=RolloutItem.State.APPLIED).count()
        refused = made.items.exclude(state=RolloutItem.State.APPLIED).count()
        title = ngettext("%(n)d container gets version %(v)d", "%(n)d containers get version %(v)d", moved) % {"n": moved, "v": version.number}
        text = _("At their next start.") if not refused else _("At their next start; %(n)d kept what they have, see below.") % {"n": refused}
        return answer(request, Toast(title, text, tone="amber" if refused else "green"), to=here)
    rows = list(
        visible_containers(user)
        .filter(egg=egg)
        .exclude(egg_version=version)
        .select_related("egg_version", "owner", "node")
        .order_by("name")[:MAX_SHOWN]
    )
    may = rights_on(user, rows)
    moves = services.preview_rollout(version, [container for container in rows if "containers.edit" in may[container.pk]])
    context = {
        "egg": egg,
        "version": version,
        "moves": moves,
        "others": len(rows) - len(moves),
        "there": visible_containers(user).filter(egg=egg, egg_version=version).count(),
        "numbers": list(egg.versions.order_by("-number").values_list("number", flat=True)[:200]),
        "page": page_of(request, visible_rollouts(user, egg), size=10),
    }
    return render(request, "containers/rollout.html", context)


def _ids(request: HttpRequest) -> list[UUID]:
    found = []
    for text in request.POST.getlist("container")[:1000]:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


@require_POST
@signed_in
def revert(request: HttpRequest, egg_id: UUID, rollout_id: UUID) -> HttpResponse:
    """Give each container back what it had."""
    user = person(request)
    egg = get_egg(user, egg_id, "eggs.view")
    here = reverse("containers:rollout", args=[egg.pk])
    found = may_revert(user, get_rollout(user, egg, rollout_id))
    try:
        services.revert(found, actor=user.as_actor())
    except Problem as problem:
        return answer(request, Toast(_("Not taken back"), problem.detail, tone="red"), to=here)
    return answer(request, Toast(_("Taken back"), _("Each container has its old version again, from its next start on.")), to=here)
