"""`/users`: everybody with an account, in pages; one of them; many at once; inviting; and seeing the console as somebody."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import entering, granting, impersonation, inviting, people, proofs, quotas
from accounts.access import capabilities_of, has, require, rights_of
from accounts.models import Role, User
from accounts.people_forms import AcceptForm, InviteForm, NewPersonForm, PersonForm, QuotaForm
from audit.selectors import timeline
from lormas.common.addresses import client_address
from lormas.common.errors import Conflict, NotFound, Problem, Refused
from lormas.common.pages import Toast, answer, page_of, person, signed_in

ORDERS = ("username", "email", "role__name", "created_at", "last_login")
STATES: tuple[str, ...] = ("active", "inactive", "invited")
ACTS: tuple[str, ...] = ("activate", "deactivate", "assign_role", "delete")


def _assignable(by: User) -> list[Role]:
    """Roles that hold nothing that this person lacks; without `roles.manage` only that of sign-ups."""
    mine = capabilities_of(by)
    found = [role for role in Role.objects.all() if frozenset(role.capabilities) <= mine]
    return found if has(by, "roles.manage") else [role for role in found if role.slug == settings.SIGNUP_ROLE]


def _found(filters: dict[str, str]) -> QuerySet[User]:
    found = User.objects.select_related("role")
    for word in filters["search"].split()[:6]:
        found = found.filter(Q(email__icontains=word) | Q(username__icontains=word) | Q(name__icontains=word))
    if filters["role"]:
        found = found.filter(role__slug=filters["role"])
    if filters["state"] in ("active", "inactive"):
        found = found.filter(is_active=filters["state"] == "active")
    elif filters["state"] == "invited":
        found = found.filter(people.invited())
    return found


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    by = person(request)
    require(by, "users.view")
    filters = {name: request.GET.get(name, "").strip()[:255] for name in ("search", "role", "state", "order")}
    order = filters["order"] if filters["order"].lstrip("-") in ORDERS else "username"
    titles = {role.slug: role.title for role in Role.objects.all()}
    stats = people.stats()
    context = {
        "page": page_of(request, _found(filters).order_by(order, "pk"), size=50),
        "filters": {**filters, "order": order},
        "filtered": any(filters[name] for name in ("search", "role", "state")),
        "states": STATES,
        "assignable": _assignable(by),
        "stats": stats,
        "roles": [{**row, "title": titles.get(row["slug"], row["name"])} for row in stats["by_role"]],
        "may_manage": has(by, "users.manage"),
        "may_assign": has(by, "roles.manage"),
    }
    return render(request, "users/list.html", context)


def _one(user_id: UUID) -> User:
    found = User.objects.select_related("role").filter(pk=user_id).first()
    if found is None:
        raise NotFound(_("There is no such account."))
    return found


def _context(by: User, user: User) -> dict[str, Any]:
    own = user.pk == by.pk
    above = (user.is_superuser and not by.is_superuser) or not rights_of(user) <= capabilities_of(by)
    return {
        "one": user,
        "own": own,
        "above": above,
        "may_change": has(by, "users.manage") and (own or not above),
        "may_act": has(by, "users.manage") and not own and not above,
        "may_see_as": has(by, "users.impersonate") and by.impersonator is None and not own,
    }


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def detail(request: HttpRequest, user_id: UUID) -> HttpResponse:
    """One account: what it is, what it holds, what happened to it; and the form that changes it."""
    by = person(request)
    require(by, "users.view")
    user = _one(user_id)
    standing = _context(by, user)
    known = {"email": user.email, "name": user.name, "username": user.username, "role": user.role.slug if user.role else ""}
    roles = _assignable(by)
    fixed = not standing["may_act"] or not has(by, "roles.manage") or (user.role is not None and user.role not in roles)
    of_quota = "quota" in request.POST
    form = PersonForm(None if of_quota else request.POST or None, initial=known, roles=roles, fixed_role=fixed)
    quota = QuotaForm(request.POST if of_quota else None, known=quotas.of_person(user), person=True)
    if of_quota:
        require(by, "users.manage")
        if quota.is_given(lambda asked: people.update_person(by, user_id, changes={"quota": asked}, actor=by.as_actor())):
            return answer(request, Toast(_("The quota is changed")), to=request.path)
    elif request.method == "POST":
        require(by, "users.manage")
        if form.is_valid():
            try:
                people.update_person(by, user_id, changes=form.cleaned_data, actor=by.as_actor())
            except (Refused, Conflict) as problem:
                form.take(problem)
            else:
                return answer(request, Toast(_("Saved")), to=request.path)
    context = {
        **standing,
        "form": form,
        "quota": quota,
        "role_quota": quotas.of_role(user.role) if user.role is not None else None,
        "unlimited": quotas.is_exempt(user),
        "grants": granting.of_person(user),
        "entries": timeline("user", user.pk)[:20],
        "sessions": user.auth_sessions.filter(revoked_at=None).count(),
        "keys": user.api_keys.count(),
    }
    return render(request, "users/detail.html", context, status=400 if form.errors or quota.errors else 200)


@sensitive_variables("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest) -> HttpResponse:
    """An account with a first password, which the answer to the POST tells and nothing else."""
    by = person(request)
    require(by, "users.manage")
    form = NewPersonForm(request.POST or None, roles=_assignable(by), initial={"role": settings.SIGNUP_ROLE})
    if request.method == "POST" and form.is_valid():
        try:
            user, password = people.create_person(by, actor=by.as_actor(), **form.cleaned_data)
        except Problem as problem:
            form.take(problem)
        else:
            return render(request, "users/made.html", {"one": user, "password": password})
    return render(request, "users/new.html", {"form": form, "title": _("New account")}, status=400 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def invite(request: HttpRequest) -> HttpResponse:
    by = person(request)
    require(by, "users.manage")
    form = InviteForm(request.POST or None, roles=_assignable(by), initial={"role": settings.SIGNUP_ROLE})
    if request.method == "POST" and form.is_valid():
        try:
            user = inviting.invite(by, actor=by.as_actor(), **form.cleaned_data)
        except Problem as problem:
            form.take(problem)
        else:
            toast = Toast(_("%(email)s is invited") % {"email": user.email}, _("The link in the letter is good for a week."))
            return answer(request, toast, to=reverse("people:users"))
    return render(request, "users/invite.html", {"form": form}, status=400 if form.errors else 200)


@require_POST
@signed_in
def invite_again(request: HttpRequest, user_id: UUID) -> HttpResponse:
    by = person(request)
    require(by, "users.manage")
    user = inviting.invite_again(by, user_id, actor=by.as_actor())
    return answer(request, Toast(_("%(email)s is invited again") % {"email": user.email}), to=reverse("people:user", args=[user.pk]))


@require_POST
@signed_in
def active(request: HttpRequest, user_id: UUID) -> HttpResponse:
    """`active=1` or `active=0`."""
    by = person(request)
    require(by, "users.manage")
    wanted = request.POST.get("active") == "1"
    user = people.update_person(by, user_id, changes={"is_active": wanted}, actor=by.as_actor())
    said = _("%(who)s can sign in again") if wanted else _("%(who)s is deactivated; all sessions have ended")
    return answer(request, Toast(said % {"who": user.label}), to=reverse("people:user", args=[user.pk]))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def delete(request: HttpRequest, user_id: UUID) -> HttpResponse:
    """Asks for the username, says what goes with the account."""
    by = person(request)
    require(by, "users.manage")
    user = _one(user_id)
    wrong = ""
    if request.method == "POST":
        if request.POST.get("confirm", "").strip() == user.username:
            try:
                people.delete_person(by, user_id, actor=by.as_actor())
            except Conflict as problem:
                wrong = problem.detail
            else:
                return answer(request, Toast(_("%(who)s was deleted") % {"who": user.label}), to=reverse("people:users"))
        else:
            wrong = _("Type the username to confirm: %(name)s") % {"name": user.username}
    context = {**_context(by, user), "wrong": wrong, "grants": granting.of_person(user)}
    return render(request, "users/delete.html", context, status=409 if wrong else 200)


@require_POST
@signed_in
def bulk(request: HttpRequest) -> HttpResponse:
    """One act on those that are ticked, all or nothing. What ends something is asked once more, with their names."""
    by = person(request)
    require(by, "users.manage")
    action, back = request.POST.get("action", ""), reverse("people:users")
    try:
        ids = [UUID(text) for text in request.POST.getlist("ids")[: people.MAX_BULK + 1]]
    except ValueError:
        ids = []
    if not ids or action not in ACTS or len(ids) > people.MAX_BULK:
        said = _("Tick some accounts, at most %(most)d, and choose what to do.") % {"most": people.MAX_BULK}
        return answer(request, Toast(_("Nothing was done"), said, tone="amber"), to=back)
    if action in ("deactivate", "delete") and request.POST.get("sure") != "1":
        chosen = User.objects.select_related("role").filter(pk__in=ids).order_by("username")
        return render(request, "users/bulk.html", {"chosen": chosen, "action": action})
    role = request.POST.get("role") or None
    try:
        done = people.bulk(by, ids=ids, action=cast("people.BulkAction", action), role=role if action == "assign_role" else None, actor=by.as_actor())
    except Problem as problem:
        return answer(request, Toast(problem.title, problem.detail, tone="red"), to=back)
    said = ngettext("%(n)d account changed", "%(n)d accounts changed", len(done)) % {"n": len(done)}
    return answer(request, Toast(said), to=back)


@require_POST
@signed_in
def impersonate(request: HttpRequest, user_id: UUID) -> HttpResponse:
    by = person(request)
    target = impersonation.begin(by, user_id, session=request.session, actor=by.as_actor())
    said = _("For an hour at most. What you do is written down as yours.")
    return answer(request, Toast(_("You see as %(who)s") % {"who": target.label}, said, tone="amber"), to="/")


@require_POST
@signed_in
def leave(request: HttpRequest) -> HttpResponse:
    by = person(request)
    target = impersonation.end(by, session=request.session, actor=by.as_actor())
    to = reverse("people:user", args=[target.pk]) if target is not None else "/"
    return answer(request, Toast(_("You are yourself again")), to=to)


@sensitive_post_parameters("password", "repeated")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def accept(request: HttpRequest, token: str) -> HttpResponse:
    """`/invite/<token>`: the invited choose a password and are signed in."""
    try:
        user = proofs.read_invitation(token)
    except Refused as problem:
        return render(request, "users/invitation_dead.html", {"problem": problem}, status=problem.status)
    form = AcceptForm(request.POST or None, initial={"name": user.name, "username": user.username})
    if request.method == "POST" and form.is_valid():
        given = {name: form.cleaned_data[name] for name in ("password", "name", "username")}
        try:
            user = inviting.accept(token, address=client_address(request), **given)
        except Problem as problem:
            form.take(problem)
        else:
            return cast("HttpResponse", entering.admit(request, user, remember=True, target="/", by="invitation"))
    return render(request, "users/accept.html", {"form": form, "one": user}, status=400 if form.errors else 200)
