"""Pages of machines: the list, one of them, registering, importing, and putting one in order."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import grants
from accounts.access import has, require
from audit.models import Entry
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, page_of, person, signed_in
from reservations import machinefile, selectors, sources
from reservations.access import get_machine, grant_kind, require_sight, visible_machines
from reservations.api.machines import rows_of
from reservations.forms import ImportForm, MachineForm, initial_of
from reservations.hostkeys import fingerprint
from reservations.models import Machine
from reservations.services import checks, machines, revoke
from reservations.states import Hold, MachineStatus


def _may(user: Any) -> dict[str, bool]:
    return {"manage": has(user, "machines.manage"), "reserve": has(user, "reservations.create"), "all": has(user, "reservations.any")}


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require_sight(user)
    found = visible_machines(user).order_by("name")
    filters = {name: request.GET.get(name, "").strip() for name in ("search", "status")}
    if filters["search"]:
        text = filters["search"][:64]
        found = found.filter(Q(name__icontains=text) | Q(host__icontains=text) | Q(description__icontains=text))
    pool = selectors.pool(list(found))  # a status is worked out, not stored: so it is filtered here
    rows = [row for row in pool["rows"] if filters["status"] not in MachineStatus.values or row["status"] == filters["status"]]
    page = page_of(request, rows, size=50)
    context = {
        "page": page,
        "rows": page.object_list,
        "filters": filters,
        "filtered": any(filters.values()),
        "statuses": [(value, word, pool[value]) for value, word in MachineStatus.choices],
        "total": len(pool["rows"]),
        "may": _may(user),
    }
    return render(request, "machines/_table.html" if request.headers.get("X-Live") else "machines/list.html", context)


@require_GET
@signed_in
def rows(request: HttpRequest) -> HttpResponse:
    """Fresh rows of the ids named (`?id=…&id=…`)."""
    user = person(request)
    ids = []
    for text in request.GET.getlist("id")[:200]:
        try:
            ids.append(UUID(text))
        except ValueError:
            continue
    found = list(visible_machines(user).filter(pk__in=ids))
    return render(request, "machines/_rows.html", {"rows": selectors.pool(found)["rows"], "may": _may(user)})


@require_GET
@signed_in
def detail(request: HttpRequest, machine_id: UUID) -> HttpResponse:
    user = person(request)
    machine = get_machine(user, machine_id)
    held = grants.rights(grant_kind(), user, machine)
    may = {**_may(user), "manage": "machines.manage" in held}
    bookings = selectors.open_allocations([machine.pk]).select_related("reservation__owner")
    context = {
        "row": selectors.pool([machine])["rows"][0],
        "machine": machine,
        "may": may,
        "may_grant": may["manage"],
        "pinned": fingerprint(machine.host_key),
        "alarm": fingerprint(machine.host_key_alarm),
        "bookings": list(bookings[:20]),
        "dirty": [one for one in bookings if one.hold == Hold.DIRTY],
        "user_id": user.pk,
    }
    if request.headers.get("X-Live"):
        return render(request, "machines/_detail.html", context)
    context["entries"] = Entry.objects.filter(target_type="machine", target_id=str(machine.pk))[:12] if may["manage"] else []
    return render(request, "machines/detail.html", context)


def _to(machine: Machine) -> str:
    return reverse("reservations:machine", args=[machine.pk])


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require(user, "machines.manage")
    made_of = sources.choices(user)
    asked = next((f"{kind}:{request.GET[kind]}" for kind in ("node", "container") if request.GET.get(kind)), "")
    form = MachineForm(request.POST or None, made_of=made_of, initial={"source": asked})
    if request.method == "POST" and form.is_valid():
        try:
            machine = machines.register_machine(actor=user.as_actor(), **sources.filled(user, form.given(), new=True))
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("%(name)s is registered") % {"name": machine.name}, _("It is being looked at.")), to=_to(machine))
    return render(request, "machines/new.html", {"form": form}, status=400 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def edit(request: HttpRequest, machine_id: UUID) -> HttpResponse:
    user = person(request)
    machine = get_machine(user, machine_id, "machines.manage")
    form = MachineForm(request.POST or None, initial=initial_of(machine), machine=machine)
    if request.method == "POST" and form.is_valid():
        try:
            machines.update_machine(machine, actor=user.as_actor(), **form.given())
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("Settings saved")), to=_to(machine))
    return render(request, "machines/edit.html", {"machine": machine, "form": form}, status=400 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def import_file(request: HttpRequest) -> HttpResponse:
    """Many at once, all or none."""
    user = person(request)
    require(user, "machines.manage")
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            upload = given["file"]
            data = upload.read(machinefile.MAX_BYTES + 1) if upload else given["text"].encode()
            found = rows_of(user, machinefile.machines_of(data, filename=upload.name if upload else ""))
            done = machines.import_machines(found, actor=user.as_actor(), localhost_as=given["localhost_as"].strip(), update=given["update"])
        except Problem as problem:
            form.add_error(None, problem.detail)
            for error in problem.errors[:20]:
                form.add_error(None, f"{error.field}: {error.message}")
        else:
            created = sum(is_new for _machine, is_new in done)
            words = _("%(new)d registered, %(changed)d changed") % {"new": created, "changed": len(done) - created}
            return answer(request, Toast(words), to=reverse("reservations:machines"))
    return render(request, "machines/import.html", {"form": form}, status=400 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def delete(request: HttpRequest, machine_id: UUID) -> HttpResponse:
    user = person(request)
    machine = get_machine(user, machine_id, "machines.manage")
    wrong = ""
    if request.method == "POST":
        if request.POST.get("name", "").strip() == machine.name:
            machines.delete_machine(machine, actor=user.as_actor())
            return answer(request, Toast(_("%(name)s is removed") % {"name": machine.name}), to=reverse("reservations:machines"))
        wrong = _("This is not its name.")
    return render(request, "machines/delete.html", {"machine": machine, "wrong": wrong}, status=400 if wrong else 200)


@require_POST
@signed_in
def check(request: HttpRequest, machine_id: UUID) -> HttpResponse:
    user = person(request)
    machine = checks.check_machine(get_machine(user, machine_id, "machines.manage"), actor=user.as_actor())
    if machine.reachable:
        toast = Toast(_("%(name)s answers") % {"name": machine.name}, f"{machine.latency_ms:.0f} ms" if machine.latency_ms is not None else "")
    else:
        toast = Toast(_("%(name)s can't be used") % {"name": machine.name}, machine.reach_reason, tone="red")
    return answer(request, toast, to=_to(machine))


@require_POST
@signed_in
def broken(request: HttpRequest, machine_id: UUID) -> HttpResponse:
    user = person(request)
    machine = get_machine(user, machine_id, "machines.manage")
    machines.mark_broken(machine, actor=user.as_actor(), reason=request.POST.get("reason", "").strip()[:300])
    return answer(request, Toast(_("%(name)s is out of the pool") % {"name": machine.name}, tone="amber"), to=_to(machine))


@require_POST
@signed_in
def fixed(request: HttpRequest, machine_id: UUID) -> HttpResponse:
    user = person(request)
    machine = get_machine(user, machine_id, "machines.manage")
    key = request.POST.get("accept_host_key", "")[:100]
    machines.mark_fixed(machine, actor=user.as_actor(), accept_host_key=key, set_up_anew=request.POST.get("set_up_anew") == "1")
    words = _("It is looked at before anybody gets it.")
    return answer(request, Toast(_("%(name)s is back in the pool") % {"name": machine.name}, words), to=_to(machine))


@require_POST
@signed_in
def clean(request: HttpRequest, machine_id: UUID) -> HttpResponse:
    user = person(request)
    machine = revoke.clean_machine(get_machine(user, machine_id, "machines.manage"), actor=user.as_actor())
    if machine.usable or not machine.condition_reason:
        toast = Toast(_("%(name)s is clean") % {"name": machine.name})
    else:
        toast = Toast(_("%(name)s is still not clean") % {"name": machine.name}, machine.condition_reason, tone="red")
    return answer(request, toast, to=_to(machine))
