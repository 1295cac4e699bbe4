"""Pages that act on many containers, and the one that makes a second of the same kind."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import require
from containers.access import get_container, visible_containers
from containers.services import bulk
from containers.services.duplicate import duplicate, free_name
from containers.validation import check_name
from containers.views import frame, kept_for
from lormas.common.errors import NotFound, Problem
from lormas.common.pages import answer, person, signed_in
from nodes.operation_views import started_toast

ASK_FIRST = ("kill", "delete", "purge")


@require_POST
@signed_in
def act_on_many(request: HttpRequest) -> HttpResponse:
    """`id` (many), `action`; what may lose something is asked about once more."""
    user = person(request)
    action = request.POST.get("action", "")
    if action not in bulk.ACTIONS:
        raise NotFound(_("There is no such action."))
    ids: list[UUID] = []
    for text in request.POST.getlist("id")[: bulk.MOST]:
        try:
            ids.append(UUID(text))
        except ValueError:
            continue
    in_trash = action in ("restore", "purge")
    back = reverse("containers:list") + ("?trash=1" if in_trash else "")
    if not ids:
        return HttpResponseRedirect(back)
    context = {"action": action, "back": back, "kept": kept_for()}
    if action in ASK_FIRST and request.POST.get("sure") != "1":
        found = visible_containers(user, trash=in_trash).for_list().filter(pk__in=ids).order_by("name")
        return render(request, "containers/bulk_ask.html", {**context, "found": found})
    results = bulk.act_on_many(ids, action, user=user, actor=user.as_actor())
    return render(request, "containers/bulk_done.html", {**context, "results": results, "accepted": sum(r.ok for r in results)})


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def make_another(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Says what is copied and what is not; asks for the name, and of a session container whether the copy is to be one."""
    user = person(request)
    container = get_container(user, container_id)
    require(user, "containers.create")
    name, wrong = request.POST.get("name", "").strip() or free_name(container, owner=user), ""
    if request.method == "POST":
        try:
            made, operation = duplicate(
                container,
                name=check_name(name),
                start=request.POST.get("start") == "1",
                is_session=request.POST.get("session") == "1",
                user=user,
                actor=user.as_actor(),
            )
        except ValueError as error:
            wrong = str(error)
        except Problem as problem:
            wrong = " ".join(error.message for error in problem.errors) or problem.detail
        else:
            return answer(request, started_toast(operation), to=reverse("containers:detail", args=[made.pk]))
    context = {
        **frame(user, container, "settings"),
        "name": name,
        "wrong": wrong,
        "start": request.method != "POST" or request.POST.get("start") == "1",
        "session": request.POST.get("session") == "1",
    }
    return render(request, "containers/duplicate.html", context, status=400 if wrong else 200)
