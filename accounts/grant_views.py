"""The access and activity tabs of every kind of object (`lormas.wiring.GRANTS`)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import granting, grants
from accounts.grant_forms import GrantForm
from accounts.grants import Kind
from audit.selectors import timeline
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, page_of, person, signed_in


def _address(name: str, *args: Any) -> str:
    try:
        return reverse(name, args=args) if name else ""
    except NoReverseMatch:
        return ""


def _frame(request: HttpRequest, kind: Kind, target: Any, tab: str) -> dict[str, Any]:
    user = person(request)
    frame = kind.frame(user, target) if kind.frame is not None else {}
    return {
        **frame,
        "kind": kind,
        "plural": f"{kind.name}s",
        "target": target,
        "tab": tab,
        "may_grant": kind.manage in grants.rights(kind, user, target),
        "overview": _address(kind.url, target.pk),
        "index": _address(f"{kind.name}s:list"),
    }


def _grantable(request: HttpRequest, kind: Kind, target: Any) -> list[str]:
    """What this person can give here; seeing it is part of every grant and no box to tick."""
    mine = grants.rights(kind, person(request), target)
    return [code for code in kind.permissions if code in mine and code != kind.view]


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def access(request: HttpRequest, plural: str, object_id: UUID) -> HttpResponse:
    """Who holds rights on it, and the form to give more."""
    kind, user = grants.kind(plural[:-1]), person(request)
    target = kind.get(user, object_id, kind.manage)
    form = GrantForm(request.POST or None, codes=_grantable(request, kind, target))
    form.fields["permissions"].required = False
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            grant = granting.give(
                user,
                kind,
                target,
                user=granting.find_person(given["user"]) if given["user"] else None,
                role=given["role"],
                permissions=given["permissions"],
                expires_at=form.end(),
                reason=given["reason"],
                actor=user.as_actor(),
            )
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("%(who)s has access") % {"who": grant.holder}), to=request.path)
    context = {**_frame(request, kind, target, "access"), "form": form, "grants": granting.on(kind, target)}
    return render(request, "grants/access.html", {**context, "frame": kind.template}, status=400 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def change(request: HttpRequest, plural: str, object_id: UUID, grant_id: UUID) -> HttpResponse:
    """One grant: what it allows, until when."""
    kind, user = grants.kind(plural[:-1]), person(request)
    target = kind.get(user, object_id, kind.manage)
    grant = granting.one(kind, target, grant_id)
    stamp = grant.expires_at.strftime("%Y-%m-%d %H:%M") if grant.expires_at else ""
    known = {"permissions": grant.permissions, "expires_at": stamp, "reason": grant.reason}
    form = GrantForm(request.POST or None, initial=known, codes=_grantable(request, kind, target), fixed_holder=True)
    form.fields["permissions"].required = False
    if request.method == "POST" and form.is_valid():
        changes = {"permissions": form.cleaned_data["permissions"], "expires_at": form.end(), "reason": form.cleaned_data["reason"]}
        try:
            granting.change(user, kind, target, grant_id, changes=changes, actor=user.as_actor())
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("Access changed")), to=reverse("grants:access", args=[plural, target.pk]))
    context = {**_frame(request, kind, target, "access"), "form": form, "grant": grant, "frame": kind.template}
    return render(request, "grants/change.html", context, status=400 if form.is_bound else 200)


@require_POST
@signed_in
def take(request: HttpRequest, plural: str, object_id: UUID, grant_id: UUID) -> HttpResponse:
    kind, user = grants.kind(plural[:-1]), person(request)
    target = kind.get(user, object_id, kind.manage)
    who = granting.one(kind, target, grant_id).holder
    granting.take(kind, target, grant_id, actor=user.as_actor())
    return answer(request, Toast(_("%(who)s has no access any more") % {"who": who}), to=reverse("grants:access", args=[plural, target.pk]))


@require_GET
@signed_in
def activity(request: HttpRequest, plural: str, object_id: UUID) -> HttpResponse:
    """What happened to it, for all who see it."""
    kind = grants.kind(plural[:-1])
    target = kind.get(person(request), object_id, kind.view)
    page = page_of(request, timeline(kind.name, target.pk), size=50)
    return render(request, "grants/activity.html", {**_frame(request, kind, target, "activity"), "page": page, "frame": kind.template})
