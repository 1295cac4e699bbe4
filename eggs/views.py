"""Pages of eggs: the list, one of them, and importing a file."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from accounts.access import has, require
from eggs import services
from eggs.access import get_egg, rights, sees_eggs, visible_eggs
from eggs.definition import EggDefinition
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, page_of, person, signed_in


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    user = person(request)
    if not sees_eggs(user):
        require(user, "eggs.view")
    text = request.GET.get("search", "").strip()
    found = visible_eggs(user).order_by("-is_bundled", "name")
    if text:
        found = found.filter(name__icontains=text)
    context = {
        "page": page_of(request, found, size=60),
        "search": text,
        "may_manage": has(user, "eggs.manage"),
        "may_create": has(user, "containers.create"),
    }
    return render(request, "eggs/list.html", context)


@require_GET
@signed_in
def detail(request: HttpRequest, egg_id: UUID) -> HttpResponse:
    user = person(request)
    egg = get_egg(user, egg_id)
    context = {
        "egg": egg,
        "definition": EggDefinition.from_json(egg.current.definition) if egg.current else None,
        "versions": egg.versions.select_related("created_by")[:20],
        "may_create": has(user, "containers.create"),
        "may_grant": "eggs.manage" in rights(user, egg),
    }
    return render(request, "eggs/detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def import_page(request: HttpRequest) -> HttpResponse:
    """A file, or its text pasted; what is wrong with it is told per code."""
    user = person(request)
    require(user, "eggs.manage")
    problem: Problem | None = None
    text = request.POST.get("text", "")
    if request.method == "POST":
        upload = request.FILES.get("file")
        if upload is not None and (upload.size or 0) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            problem = Problem(_("The file is larger than an egg may be."), code="too_large")
        elif upload is None and not text.strip():
            problem = Problem(_("Choose a file, or paste its text."), code="empty")
        else:
            data, name = (upload.read(), upload.name or "egg.json") if upload is not None else (text.encode(), "pasted.json")
            try:
                result = services.import_egg(data, filename=name, user=user, actor=user.as_actor())
            except Problem as refused:
                problem = refused
            else:
                warnings = " ".join(warning.message for warning in result.warnings)
                title = _("%(name)s is imported") % {"name": ", ".join(egg.name for egg in result.eggs) or _("Nothing")}
                to = reverse("eggs:detail", args=[result.eggs[0].pk]) if result.eggs else reverse("eggs:list")
                return answer(request, Toast(title, warnings, tone="amber" if warnings else "green"), to=to)
    context = {"problem": problem, "text": text}
    return render(request, "eggs/import.html", context, status=problem.status if problem else 200)
