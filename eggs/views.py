"""Pages of eggs: the library, one of them, its versions side by side, trying values, and importing files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db.models import ProtectedError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import has, require
from eggs import pictures, selectors, services
from eggs.access import get_egg, rights, sees_eggs, visible_eggs
from eggs.controls import controls_of, posted_values
from eggs.definition import EggDefinition
from eggs.diffing import differences
from eggs.formats.reading import MAX_BYTES
from eggs.models import Egg, EggVersion
from eggs.rendering import masked
from eggs.rendering import render as render_egg
from lormas.common.errors import NotFound, Problem
from lormas.common.pages import Toast, answer, is_htmx, page_of, person, signed_in

MAX_FILES = 100
PAGE_CARDS = 48


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    """The library."""
    user = person(request)
    if not sees_eggs(user):
        require(user, "eggs.view")
    given = {name: request.GET.get(name, "").strip()[:191] for name in ("search", "category", "tag")}
    everything = visible_eggs(user)
    found = selectors.matching(everything, given["search"]) if given["search"] else everything
    if given["category"]:
        found = found.filter(category=given["category"])
    if given["tag"]:
        found = selectors.tagged(found, given["tag"])
    context = {
        "page": page_of(request, selectors.for_list(found).order_by("-is_bundled", "name", "pk"), size=PAGE_CARDS),
        "given": given,
        "filtered": any(given.values()),
        "shelves": selectors.shelves(everything),
        "may_manage": has(user, "eggs.manage"),
        "may_create": has(user, "containers.create"),
    }
    return render(request, "eggs/list.html", context)


def definition_of(egg: Egg) -> EggDefinition:
    """What its current version says. Raises NotFound."""
    if egg.current is None:
        raise NotFound(_("The egg %(name)s has no version.") % {"name": egg.name})
    return EggDefinition.from_json(egg.current.definition)


@require_GET
@signed_in
def detail(request: HttpRequest, egg_id: UUID) -> HttpResponse:
    user = person(request)
    egg = get_egg(user, egg_id)
    may = rights(user, egg)
    manager = "eggs.manage" in may
    definition = EggDefinition.from_json(egg.current.definition) if egg.current else None
    versions = egg.versions.select_related("created_by", "approved_by").defer("definition").order_by("-number")
    context = {
        "egg": egg,
        "definition": definition,
        "variables": [v for v in definition.effective_variables() if manager or v.user_viewable] if definition else [],
        "versions": page_of(request, versions, size=20),
        "may_manage": manager,
        "may_approve": manager and has(user, "containers.host_access"),
        "may_create": has(user, "containers.create"),
        "may_grant": manager,
    }
    return render(request, "eggs/detail.html", context)


@require_GET
@signed_in
def icon(request: HttpRequest, egg_id: UUID) -> HttpResponse:
    """The egg's picture, as nothing but a picture (H06)."""
    found = pictures.read(get_egg(person(request), egg_id).icon)
    if found is None:
        raise NotFound(_("This egg has no picture."))
    kind, data = found
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, max-age=300",
        "Content-Disposition": "inline; filename=icon",
    }
    return HttpResponse(data, content_type=kind, headers=headers)


def _version(egg: Egg, text: str) -> EggVersion:
    found = egg.versions.filter(number=int(text)).first() if text.isascii() and text.isdigit() and len(text) < 10 else None
    if found is None:
        raise NotFound(_("The egg %(name)s has no version %(number)s.") % {"name": egg.name, "number": text[:12]})
    return found


@require_GET
@signed_in
def diff(request: HttpRequest, egg_id: UUID) -> HttpResponse:
    """`?old=1&new=2`: what changes from one version to another."""
    user = person(request)
    egg = get_egg(user, egg_id)
    definition_of(egg)
    assert egg.current is not None
    new = _version(egg, request.GET.get("new", str(egg.current.number)))
    old = _version(egg, request.GET.get("old", str(max(1, new.number - 1))))
    manager = "eggs.manage" in rights(user, egg)
    changes = differences(EggDefinition.from_json(old.definition), EggDefinition.from_json(new.definition), manager=manager)
    context = {
        "egg": egg,
        "old": old,
        "new": new,
        "changes": changes,
        "numbers": list(egg.versions.order_by("-number").values_list("number", flat=True)[:200]),
        "manager": manager,
    }
    return render(request, "eggs/diff.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def preview(request: HttpRequest, egg_id: UUID) -> HttpResponse:
    """Try values: what a container would get, and what is wrong with each. Nothing is made; POST only keeps values out of addresses."""
    user = person(request)
    egg = get_egg(user, egg_id)
    definition, manager = definition_of(egg), "eggs.manage" in rights(user, egg)
    values = posted_values(request.POST)
    settable = {c.name for c in controls_of(definition, {}, manager=manager) if c.editable}
    port, memory = (_whole(request.POST.get(name, ""), default) for name, default in (("port", 25565), ("memory", 1024)))
    rendered = render_egg(
        definition,
        values={name: value for name, value in values.items() if name in settable},
        image=request.POST.get("image", "")[:512] or None,
        startup=request.POST.get("startup", "")[:191] or None,
        memory_bytes=memory * 1024**2,
        primary_port=min(port, 65535),
        privileged=manager,
    )
    shown = rendered if manager else masked(definition, rendered)
    wrong = {error.field.removeprefix("variables.").upper(): error.message for error in rendered.errors}
    controls = [_with_error(control, wrong) for control in controls_of(definition, values, manager=manager)]
    context = {
        "egg": egg,
        "definition": definition,
        "rendered": shown,
        "controls": controls,
        "image": request.POST.get("image", ""),
        "startup": request.POST.get("startup", ""),
        "port": port,
        "memory": memory,
        "errors": rendered.errors,
        "argv": [*(shown.entrypoint or []), *shown.command],
        "environment": sorted((name, value) for name, value in shown.env.items() if name != "STARTUP"),
    }
    return render(request, "eggs/preview.html", context)


def _with_error(control: Any, wrong: dict[str, str]) -> Any:
    return replace(control, error=wrong.get(control.name.upper(), ""))


def _whole(text: str, default: int) -> int:
    return min(int(text), 2**31) if text.isascii() and text.isdigit() and len(text) < 11 else default


@require_POST
@signed_in
def change(request: HttpRequest, egg_id: UUID) -> HttpResponse:
    """Category and tags."""
    user = person(request)
    egg = get_egg(user, egg_id, "eggs.manage")
    tags = [tag.strip()[:64] for tag in request.POST.get("tags", "").split(",") if tag.strip()][:64]
    services.label_egg(egg, changes={"category": request.POST.get("category", "").strip()[:64], "tags": tags}, actor=user.as_actor())
    return answer(request, Toast(_("Saved")), to=reverse("eggs:detail", args=[egg.pk]))


@require_POST
@signed_in
def use(request: HttpRequest, egg_id: UUID, number: int) -> HttpResponse:
    """Make a version the one that new containers get."""
    user = person(request)
    egg = get_egg(user, egg_id, "eggs.manage")
    services.use_version(_version(egg, str(number)), actor=user.as_actor())
    return answer(request, Toast(_("New containers get version %(number)d") % {"number": number}), to=reverse("eggs:detail", args=[egg.pk]))


@require_POST
@signed_in
def approve(request: HttpRequest, egg_id: UUID, number: int) -> HttpResponse:
    """Let a version have what it asks of the machine, or (`withdraw=1`) take that back."""
    user = person(request)
    egg = get_egg(user, egg_id, "eggs.manage")
    require(user, "containers.host_access")
    version = _version(egg, str(number))
    if request.POST.get("withdraw") == "1":
        services.withdraw_approval(version, actor=user.as_actor())
        toast = Toast(_("The approval of version %(number)d is taken back") % {"number": number})
    elif request.POST.get("sure") == "1":
        services.approve_version(version, user=user, actor=user.as_actor())
        toast = Toast(_("Version %(number)d is approved") % {"number": number})
    else:
        toast = Toast(_("Not approved"), _("Tick the box first: it says what you allow."), tone="red")
    return answer(request, toast, to=reverse("eggs:detail", args=[egg.pk]))


@require_POST
@signed_in
def delete(request: HttpRequest, egg_id: UUID) -> HttpResponse:
    """Delete an egg that no container is made of; its name must be typed."""
    user = person(request)
    egg = get_egg(user, egg_id, "eggs.manage")
    here = reverse("eggs:detail", args=[egg.pk])
    if request.POST.get("name", "").strip() != egg.name:
        return answer(request, Toast(_("Not deleted"), _("This is not its name."), tone="red"), to=here)
    try:
        services.delete_egg(egg, actor=user.as_actor())
    except ProtectedError:
        why = _("Containers are made of it. Delete them first, the trash included.")
        return answer(request, Toast(_("%(name)s is in use") % {"name": egg.name}, why, tone="red"), to=here)
    response = answer(request, Toast(_("%(name)s is deleted") % {"name": egg.name}), to=reverse("eggs:list"))
    if is_htmx(request):
        response.headers["HX-Redirect"] = reverse("eggs:list")
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def import_page(request: HttpRequest) -> HttpResponse:
    """Files, or one's text pasted; told per file: what came in, what was repaired, what was refused and why."""
    user = person(request)
    require(user, "eggs.manage")
    text = request.POST.get("text", "")
    problem: Problem | None = None
    reports: list[services.FileReport] = []
    if request.method == "POST":
        uploads = request.FILES.getlist("file")
        if len(uploads) > MAX_FILES:
            problem = Problem(_("At most %(count)d files at once; the command import_eggs takes any number.") % {"count": MAX_FILES}, code="too_many")
        elif not uploads and not text.strip():
            problem = Problem(_("Choose files, or paste the text of one."), code="empty")
        else:
            files = [(upload.name or "egg.json", upload.read(MAX_BYTES + 1)) for upload in uploads] or [("", text.encode(errors="replace"))]
            reports = list(services.import_files(files, user=user, actor=user.as_actor()))
            if len(reports) == 1 and (only := reports[0]).refused is not None:
                problem = only.refused
            elif len(reports) == 1 and len(reports[0].taken) == 1 and not reports[0].skipped:
                return _one(request, reports[0].taken[0])
    context = {
        "problem": problem,
        "text": text,
        "reports": [] if problem else [_told(report) for report in reports],
        "totals": _totals(reports),
        "max_files": MAX_FILES,
    }
    return render(request, "eggs/import.html", context, status=problem.status if problem else 200)


def _one(request: HttpRequest, taken: services.Taken) -> HttpResponse:
    said = {"new": _("%(name)s is imported"), "version": _("%(name)s has a new version"), "unchanged": _("%(name)s was there already, unchanged")}
    warnings = " ".join(warning.message for warning in taken.warnings)
    toast = Toast(said[taken.outcome] % {"name": taken.egg.name}, warnings, tone="amber" if warnings else "green")
    return answer(request, toast, to=reverse("eggs:detail", args=[taken.egg.pk]))


def _told(report: services.FileReport) -> dict[str, Any]:
    """One row of the page: what came in, what was there already, and what was left out, by reason."""
    left: dict[tuple[str, str], list[str]] = {}
    for one in report.skipped:
        left.setdefault((one["code"], one["message"]), []).append(one["name"])
    return {
        "name": report.name,
        "refused": report.refused,
        "came": [taken for taken in report.taken if taken.outcome != "unchanged"],
        "unchanged": [taken.egg for taken in report.taken if taken.outcome == "unchanged"],
        "left": [(code, message, names) for (code, message), names in left.items()],
        "warned": [(taken.egg, taken.warnings) for taken in report.taken if taken.warnings],
        "several": len(report.taken) > 1,
    }


def _totals(reports: list[services.FileReport]) -> dict[str, int]:
    outcomes = [taken.outcome for report in reports for taken in report.taken]
    return {
        "new": outcomes.count("new"),
        "version": outcomes.count("version"),
        "unchanged": outcomes.count("unchanged"),
        "refused": sum(report.refused is not None for report in reports) + sum(len(report.skipped) for report in reports),
    }
