"""Pages of containers: the list, one of them by tabs, power, settings, the trash."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import has, require
from accounts.grants import holds_any
from audit.models import Entry
from containers import services
from containers.access import get_container, grant_kind, rights, rights_on, visible_containers
from containers.buttons import buttons
from containers.install_views import prompts_context
from containers.models import Container
from containers.selectors import sparks
from containers.services import idle
from containers.services.clear import clear_state
from containers.services.power import ACTIONS, CAPABILITY
from containers.states import Status
from containers.stats import RANGES
from lormas.common.errors import Invalid, NotFound
from lormas.common.pages import Toast, answer, is_htmx, page_of, person, signed_in
from nodes.access import get_node, visible_nodes
from nodes.access import rights as node_rights
from nodes.operation_views import started_toast

ORDERS = ("name", "status", "created_at", "node__name", "image")
PAGE_ROWS = 25
SHOWN_RIGHTS = ("logs", "console", "edit", "delete", "exec", "files", "grant", "choose_node", "backups", "schedules")


def dressed(containers: list[Container], user: Any) -> list[dict[str, Any]]:
    """Rows with buttons and sparklines."""
    points = sparks(c.pk for c in containers)
    held = rights_on(user, containers)
    return [{"container": c, "buttons": buttons(c, user, held=held[c.pk]), "points": points.get(c.pk, {})} for c in containers]


def _ids(request: HttpRequest) -> list[UUID]:
    found = []
    for text in request.GET.getlist("id")[:200]:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


def _filtered(request: HttpRequest, user: Any) -> tuple[Any, dict[str, str]]:
    """The list's rows by its query, and the filters as they are set."""
    trash = request.GET.get("trash") == "1"
    found = visible_containers(user, trash=trash).for_list()
    given = {name: request.GET.get(name, "").strip() for name in ("search", "status", "node", "egg", "order")}
    if given["search"]:
        found = found.matching(given["search"])
    if given["status"] in Status.values:
        found = found.filter(status=given["status"])
    for name in ("node", "egg"):
        if given[name]:
            try:
                found = found.filter(**{f"{name}_id": UUID(given[name])})
            except ValueError:
                found = found.none()
    order = given["order"] if given["order"].lstrip("-") in ORDERS else "-created_at"
    return found.order_by(order, "id"), {**given, "order": order, "trash": "1" if trash else ""}


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    user = person(request)
    if not holds_any(grant_kind(), user):
        require(user, "containers.view")
    found, filters = _filtered(request, user)
    page = page_of(request, found, size=PAGE_ROWS)
    everything = visible_containers(user)
    context = {
        "page": page,
        "rows": dressed(list(page.object_list), user),
        "filters": filters,
        "filtered": any(filters[name] for name in ("search", "status", "node", "egg")),
        "statuses": [(value, word) for value, word in Status.choices if value != Status.DELETED],
        "nodes": visible_nodes(user),
        "eggs": everything.filter(egg__isnull=False).order_by("egg__name").values_list("egg_id", "egg__name").distinct(),
        "trashed": visible_containers(user, trash=True).count(),
        "may_create": has(user, "containers.create"),
        "sees_all": has(user, "containers.any"),
    }
    template = "containers/_table.html" if request.headers.get("X-Live") else "containers/list.html"
    return render(request, template, context)


@require_GET
@signed_in
def rows(request: HttpRequest) -> HttpResponse:
    """Fresh rows of the ids named (`?id=…&id=…`)."""
    user = person(request)
    found = list(visible_containers(user).for_list().filter(pk__in=_ids(request)))
    context = {"rows": dressed(found, user), "sees_all": has(user, "containers.any"), "nodes": visible_nodes(user)[:1]}
    return render(request, "containers/_rows.html", context)


def frame(user: Any, container: Container, tab: str) -> dict[str, Any]:
    """What the head and the tabs around every page of a container show."""
    held = rights(user, container)
    return {
        "container": container,
        "tab": tab,
        "buttons": buttons(container, user, held=held),
        "may": {name: f"containers.{name}" in held for name in SHOWN_RIGHTS},
        "sees_node": has(user, "nodes.view"),
        "is_live": bool(container.stats) and container.status in (Status.RUNNING, Status.PAUSED),
        "points": sparks([container.pk]).get(container.pk, {}),
        "idle": idle.standing(container),
        "may_start": "containers.start" in held,
    }


def _frame(request: HttpRequest, container: Container, tab: str) -> dict[str, Any]:
    return frame(person(request), container, tab)


@require_GET
@signed_in
def console(request: HttpRequest, container_id: UUID) -> HttpResponse:
    user = person(request)
    container = get_container(user, container_id)
    return render(request, "containers/console.html", {**_frame(request, container, "console"), **prompts_context(container, user)})


@require_GET
@signed_in
def head(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Title, state and power buttons; tells when the container is gone."""
    try:
        container = get_container(person(request), container_id)
    except NotFound:
        return render(request, "containers/_gone.html")
    return render(request, "containers/_head.html", _frame(request, container, request.GET.get("tab", "")))


@require_GET
@signed_in
def facts(request: HttpRequest, container_id: UUID) -> HttpResponse:
    container = get_container(person(request), container_id)
    return render(request, "containers/_facts.html", _frame(request, container, "console"))


@require_GET
@signed_in
def stats_page(request: HttpRequest, container_id: UUID) -> HttpResponse:
    container = get_container(person(request), container_id)
    span = request.GET.get("range", "1h")
    if span not in RANGES:
        raise Invalid(_("The range must be one of %(ranges)s.") % {"ranges": ", ".join(RANGES)})
    context = {**_frame(request, container, "stats"), "span": span, "spans": list(RANGES), "seconds": int(RANGES[span].total_seconds())}
    return render(request, "containers/stats.html", context)


@require_GET
@signed_in
def activity(request: HttpRequest, container_id: UUID) -> HttpResponse:
    container = get_container(person(request), container_id)
    entries = Entry.objects.filter(target_type="container", target_id=str(container.pk))
    return render(request, "containers/activity.html", {**_frame(request, container, "activity"), "page": page_of(request, entries, size=50)})


@require_POST
@signed_in
def power(request: HttpRequest, container_id: UUID, action: str) -> HttpResponse:
    user = person(request)
    if action not in ACTIONS:
        raise NotFound(_("There is no such action."))
    container = get_container(user, container_id, CAPABILITY[action])
    operation = services.act(container, action, user=user, actor=user.as_actor())
    return answer(request, started_toast(operation), to=reverse("containers:detail", args=[container.pk]))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def delete(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """The page that lists what is lost; the name must be typed."""
    user = person(request)
    in_trash = request.GET.get("trash") == "1"
    container = get_container(user, container_id, "containers.delete", trash=in_trash)
    wrong = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() == container.name:
            force = in_trash or request.POST.get("force") == "1"
            operation = services.delete_container(container, user=user, actor=user.as_actor(), force=force)
            toast = started_toast(operation)
            response = answer(request, toast, to=reverse("containers:list"))
            if is_htmx(request):
                response.headers["HX-Redirect"] = reverse("containers:list")
            return response
        wrong = _("This is not its name.")
    context = {**_frame(request, container, "settings"), "wrong": wrong, "in_trash": in_trash, "kept": kept_for()}
    return render(request, "containers/delete.html", context, status=400 if wrong else 200)


@require_POST
@signed_in
def keep_running(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Not idle: let it go on."""
    user = person(request)
    container = get_container(user, container_id, "containers.start")
    stands = idle.keep_running(container, actor=user.as_actor())
    toast = Toast(_("It goes on"), _("It stops when nobody uses it for %(time)s.") % {"time": idle.in_words(stands.timeout_seconds)})
    return answer(request, toast, to=_detail(container))


@require_POST
@signed_in
def clear(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """Let go of a state that does not end by itself."""
    user = person(request)
    container = get_container(user, container_id, "containers.stop")
    cleared = clear_state(container, actor=user.as_actor())
    word = str(cleared.get_status_display()).lower()
    return answer(request, Toast(_("State cleared"), _("It counts as %(state)s now.") % {"state": word}), to=_detail(container))


def _detail(container: Container) -> str:
    return reverse("containers:detail", args=[container.pk])


@require_POST
@signed_in
def restore(request: HttpRequest, container_id: UUID) -> HttpResponse:
    user = person(request)
    container = get_container(user, container_id, "containers.delete", trash=True)
    services.restore_container(container, actor=user.as_actor())
    toast = Toast(_("%(name)s is back, stopped") % {"name": container.name})
    if is_htmx(request):
        return HttpResponse(status=204, headers={"HX-Redirect": reverse("containers:detail", args=[container.pk])})
    return answer(request, toast, to=reverse("containers:detail", args=[container.pk]))


@require_GET
@signed_in
def on_node(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """Fragment of the node's page: what runs there, as far as this person may see."""
    user = person(request)
    node = get_node(user, node_id)
    page = page_of(request, visible_containers(user).filter(node=node).for_list().order_by("name"), size=100)
    context = {"node": node, "page": page, "rows": dressed(list(page.object_list), user), "sees_all": has(user, "containers.any")}
    context["may_adopt"] = "adopt" in node.capabilities and has(user, "containers.host_access") and "nodes.edit" in node_rights(user, node)
    return render(request, "containers/_on_node.html", context)


def plain(request: HttpRequest, container_id: UUID) -> HttpResponse:
    """`/containers/{id}/logs` of older links."""
    return HttpResponseRedirect(reverse("containers:detail", args=[container_id]))


def kept_for() -> str:
    """How long the trash keeps things, in words."""
    hours = round(settings.TRASH_SECONDS / 3600)
    if hours < 48:
        return ngettext("%(count)d hour", "%(count)d hours", hours) % {"count": hours}
    return _("%(count)d days") % {"count": round(hours / 24)}
