"""`/roles`: the built-in ones, those of your making, and what each may."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import quotas, roles
from accounts.access import capabilities_of, has, require
from accounts.capabilities import ADMINISTRATOR, CAPABILITIES, CODES
from accounts.models import Role
from accounts.people_forms import QuotaForm, RoleForm
from audit.selectors import timeline
from lormas.common.errors import NotFound, Problem
from lormas.common.pages import Toast, answer, person, signed_in
from lormas.common.sizes import size_word


def _enter(request: HttpRequest) -> Any:
    by = person(request)
    if not has(by, "roles.manage"):
        require(by, "users.view")
    return by


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    """One table: a row a right, a column a role."""
    by = _enter(request)
    found = list(Role.objects.annotate(people=Count("users")).order_by("-built_in", "name"))
    rooms: dict[str, list[dict[str, Any]]] = {}
    for one in CAPABILITIES:
        held = [one.code in role.capabilities for role in found]
        rooms.setdefault(one.code.partition(".")[0], []).append({"code": one.code, "may": one.said, "object_level": one.object_level, "held": held})
    return render(request, "roles/list.html", {"roles": found, "rooms": list(rooms.items()), "may_manage": has(by, "roles.manage")})


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest) -> HttpResponse:
    by = person(request)
    require(by, "roles.manage")
    form = RoleForm(request.POST or None, held=capabilities_of(by))
    if request.method == "POST" and form.is_valid():
        try:
            role = roles.create_role(by, actor=by.as_actor(), **form.cleaned_data)
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("%(role)s is made") % {"role": role.name}), to=reverse("people:roles"))
    return render(request, "roles/edit.html", {"form": form, "title": _("New role")}, status=400 if form.errors else 200)


def _rows(most: quotas.Allowance | None) -> list[tuple[str, str]]:
    """For those who may look and not set it."""
    if most is None:
        return []
    sizes = ((_("Memory"), most.memory_bytes), (_("Disk"), most.disk_bytes))
    numbers = ((_("Containers"), most.containers), (_("CPU"), most.cpus))
    return [(title, _("no limit") if value is None else f"{value:g}") for title, value in numbers] + [
        (title, _("no limit") if size is None else size_word(size)) for title, size in sizes
    ]


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: HttpRequest, role_id: UUID) -> HttpResponse:
    """A role; the form only where it may be changed."""
    by = _enter(request)
    role = Role.objects.filter(pk=role_id).first()
    if role is None:
        raise NotFound(_("There is no such role."))
    held = capabilities_of(by)
    own, beyond = by.role_id == role.pk, bool(frozenset(role.capabilities) & CODES - held)
    known = {"name": role.name, "description": role.description, "capabilities": role.capabilities}
    of_quota = "quota" in request.POST
    form = RoleForm(None if of_quota else request.POST or None, initial=known, held=held, known=True)
    quota = QuotaForm(request.POST if of_quota else None, known=quotas.of_role(role), person=False)
    if of_quota:
        require(by, "roles.manage")
        if quota.is_given(lambda asked: roles.update_role(by, role_id, changes={"quota": asked}, actor=by.as_actor())):
            return answer(request, Toast(_("The quota is changed")), to=request.path)
    elif request.method == "POST":
        require(by, "roles.manage")
        if form.is_valid():
            try:
                roles.update_role(by, role_id, changes=form.cleaned_data, actor=by.as_actor())
            except Problem as problem:
                if problem.status == 403:
                    raise
                form.take(problem)
            else:
                return answer(request, Toast(_("%(role)s is changed") % {"role": form.cleaned_data["name"]}), to=reverse("people:roles"))
    why = ""
    may_set_quota = has(by, "roles.manage") and not own and not beyond and role.slug != ADMINISTRATOR
    if role.built_in and may_set_quota:
        why = _("It is built in: what it may stays as it is. Make a role of your own from it, or change its quota.")
    elif role.built_in:
        why = _("It is built in and stays as it is; make a role of your own from it.")
    elif own:
        why = _("It is your own role: ask another administrator.")
    elif beyond:
        why = _("It holds what you lack.")
    elif not has(by, "roles.manage"):
        why = _("Your role does not include roles.manage.")
    context = {
        "form": form,
        "role": role,
        "title": role.title,
        "why": why,
        "people": role.users.order_by("username")[:50],
        "count": role.users.count(),
        "entries": timeline("role", role.pk)[:20],
        "quota": quota,
        "quota_rows": _rows(quotas.of_role(role)),
        "unlimited": role.slug == ADMINISTRATOR,
        "may_set_quota": may_set_quota,
        "holds": [one for one in CAPABILITIES if one.code in role.capabilities],
    }
    return render(request, "roles/edit.html", context, status=400 if form.errors or quota.errors else 200)


@require_POST
@signed_in
def delete(request: HttpRequest, role_id: UUID) -> HttpResponse:
    by = person(request)
    require(by, "roles.manage")
    try:
        roles.delete_role(by, role_id, actor=by.as_actor())
    except Problem as problem:
        if problem.status != 409:
            raise
        return answer(request, Toast(problem.title, problem.detail, tone="red"), to=reverse("people:role", args=[role_id]))
    return answer(request, Toast(_("The role is deleted")), to=reverse("people:roles"))
