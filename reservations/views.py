"""Pages of reservations: the pool with its calendar, one's reservations, reserving, extending, giving back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.access import has, require
from audit.selectors import timeline
from lormas.common import clock, zones
from lormas.common.errors import Problem
from lormas.common.pages import Toast, answer, page_of, person, signed_in
from reservations import calendar, selectors
from reservations.access import get_reservation, require_part, require_sight, visible_machines, visible_reservations
from reservations.api.views import trial_answer
from reservations.forms import ReserveForm
from reservations.models import Reservation
from reservations.services import extend as extending
from reservations.services import limits, revoke
from reservations.services.reserve import reserve, try_out
from reservations.states import OPEN, Hold, State
from reservations.windows import span_of

TIMELINE_ROWS = 30


def zone_of(user: Any) -> str:
    """A person's time zone, or UTC."""
    return user.time_zone if user.time_zone and zones.known(user.time_zone) else "UTC"


def queue_rows(user: Any) -> list[dict[str, Any]]:
    """Who waits, in order; a reservation only where the viewer may see it. To those who don't see the pool, themselves only."""
    plans = selectors.queue()
    rows = {one.pk: one for one in Reservation.objects.filter(pk__in=[plan.ask.id for plan in plans])}
    sees_all, sees_pool = has(user, "reservations.any"), has(user, "machines.view")
    return [
        {"plan": plan, "one": rows[plan.ask.id], "seen": sees_all or plan.ask.owner == user.pk}
        for plan in plans
        if plan.ask.id in rows and (sees_pool or sees_all or plan.ask.owner == user.pk)
    ]  # fmt: skip


@require_GET
@signed_in
def available(request: HttpRequest) -> HttpResponse:
    """The pool: totals, the calendar of a day or a week, and who waits."""
    user = person(request)
    require_sight(user)
    zone, now = zone_of(user), clock.now()
    view: calendar.View = "week" if request.GET.get("view") == "week" else "day"
    day = calendar.day_of(request.GET.get("day", ""), zone=zone, now=now)
    window = span_of(day, view=view, zone=zone)
    pool = selectors.pool(list(visible_machines(user).order_by("name")))
    label = request.GET.get("label", "").strip()[:128]
    key, equals, wanted = label.partition("=")
    shown = [row for row in pool["rows"] if not label or (key in row["machine"].labels and (not equals or row["machine"].labels[key] == wanted))]
    bars = calendar.bars_of(
        selectors.bookings_between(window), window=window, now=now, viewer_id=user.pk, sees_all=has(user, "reservations.any")
    )  # fmt: skip
    page = page_of(request, [calendar.Row(row, bars.get(row["machine"].pk, ())) for row in shown], size=100)
    last = (window.end - timedelta(seconds=1)).astimezone(ZoneInfo(zone))
    context = {
        "pool": pool,
        "page": page,
        "ticks": calendar.ticks(window, view=view, zone=zone),
        "view": view,
        "day": day,
        "first": window.start.astimezone(ZoneInfo(zone)),
        "last": last,
        "window": window,
        "before": calendar.moved(day, view=view, by=-1),
        "after": calendar.moved(day, view=view, by=1),
        "is_now": window.start <= now < window.end,
        "now_left": calendar.share(now, window),
        "past_to": 0 if now <= window.start else calendar.share(now, window),
        "zone": zone,
        "label": label,
        "labels": sorted({f"{k}={v}" for row in pool["rows"] for k, v in row["machine"].labels.items()})[:100],
        "queue": queue_rows(user),
        "may": {"reserve": has(user, "reservations.create"), "manage": has(user, "machines.manage")},
    }
    return render(request, "reservations/_pool.html" if request.headers.get("X-Live") else "reservations/available.html", context)


@require_GET
@signed_in
def index(request: HttpRequest) -> HttpResponse:
    """One's own reservations, or everybody's."""
    user = person(request)
    require_part(user)
    sees_all = has(user, "reservations.any")
    whose = "all" if sees_all and request.GET.get("whose") == "all" else "mine"
    when = request.GET.get("when") if request.GET.get("when") in ("open", "past") else "open"
    found = visible_reservations(user).prefetch_related("allocations__machine")
    if whose == "mine":
        found = found.filter(owner=user)
    found = found.filter(state__in=OPEN).order_by("starts_at", "created_at") if when == "open" else found.exclude(state__in=OPEN)
    page = page_of(request, found, size=50)
    context = {
        "page": page,
        "rows": page.object_list,
        "plans": {plan.ask.id: plan for plan in selectors.queue()},
        "whose": whose,
        "when": when,
        "open_count": visible_reservations(user).filter(state__in=OPEN).count() if sees_all else 0,
        "may": {"reserve": has(user, "reservations.create"), "all": sees_all},
    }
    return render(request, "reservations/_table.html" if request.headers.get("X-Live") else "reservations/list.html", context)


@require_GET
@signed_in
def detail(request: HttpRequest, reservation_id: UUID) -> HttpResponse:
    user = person(request)
    found = get_reservation(user, reservation_id)
    allocations = list(found.allocations.exclude(hold=Hold.GIVEN_UP).select_related("machine"))
    plan = next((one for one in selectors.queue() if one.ask.id == found.pk), None) if found.state == State.WAITING else None
    context = {
        "one": found,
        "allocations": allocations,
        "ready": sum(row.hold == Hold.READY for row in allocations),
        "plan": plan,
        "mine": found.owner_id == user.pk,
        "may_change": has(user, "reservations.create" if found.owner_id == user.pk else "reservations.any"),
        "is_open": found.state in OPEN,
        "can_release": found.state in (State.WAITING, State.REQUESTED, State.PROVISIONING, State.ACTIVE),
        "series": Reservation.objects.filter(series=found.series).order_by("starts_at") if found.series else [],
        "extend_minutes": (15, 60, 240, 1440),
        "entries": timeline("reservation", found.pk)[:TIMELINE_ROWS],
        "error": "",
    }
    return render(request, "reservations/_detail.html" if request.headers.get("X-Live") else "reservations/detail.html", context)


def _form(request: HttpRequest, user: Any) -> ReserveForm:
    zone = zone_of(user)
    machines = visible_machines(user).order_by("name")
    if request.method == "POST":
        return ReserveForm(request.POST, machines=machines, zone=zone)
    initial: dict[str, Any] = {"queue": False}
    chosen = [machine.pk for machine in machines if str(machine.pk) in request.GET.getlist("machine")[:100]]
    if chosen:
        initial |= {"machines": chosen, "count": len(chosen)}
    minutes = request.GET.get("minutes", "")
    if minutes.isascii() and minutes.isdigit() and 0 < int(minutes[:7]) <= 527_040:
        whole = int(minutes)
        initial |= {"length": whole // 60, "unit": "hours"} if whole % 60 == 0 else {"length": whole, "unit": "minutes"}
    start = clock.parse_rfc3339(request.GET.get("start", "")) if request.GET.get("start") else None
    if start is not None and start > clock.now():
        initial["starts_at"] = f"{start.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"
    return ReserveForm(initial=initial, machines=machines, zone=zone)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require(user, "reservations.create")
    form = _form(request, user)
    if request.method == "POST" and form.is_valid():
        try:
            made = reserve(user=user, actor=user.as_actor(), wish=form.wish())
        except Problem as problem:
            form.take(problem)
        else:
            first = made[0]
            words = _("You wait in the queue") if first.state == State.WAITING else _("Reserved")
            more = _("%(count)d reservations, one per repetition.") % {"count": len(made)} if len(made) > 1 else ""
            return answer(request, Toast(words, more), to=reverse("reservations:detail", args=[first.pk]))
    context = {"form": form, "limits": limits.limits_of(user), "total": visible_machines(user).count()}
    return render(request, "reservations/new.html", context, status=400 if form.is_bound else 200)


@require_POST
@signed_in
def try_it(request: HttpRequest) -> HttpResponse:
    """What the form would get, as it stands; changes nothing."""
    user = person(request)
    require(user, "reservations.create")
    form = _form(request, user)
    trials: dict[str, Any] | None = None
    problem_words = ""
    if form.is_valid():
        wish = form.wish()
        try:
            trials = trial_answer(user, try_out(user, wish), queue=wish.queue)
        except Problem as problem:
            problem_words = " ".join([error.message for error in problem.errors] or [problem.detail])
    return render(request, "reservations/_trial.html", {"trials": trials, "problem": problem_words, "form": form})


@require_POST
@signed_in
def extend(request: HttpRequest, reservation_id: UUID) -> HttpResponse:
    user = person(request)
    found = get_reservation(user, reservation_id, to_change=True)
    minutes = request.POST.get("minutes", "")
    given = int(minutes) if minutes.isascii() and minutes.isdigit() and len(minutes) < 8 else 0
    extending.extend(found, minutes=given, actor=user.as_actor())
    return answer(request, Toast(_("Extended by %(minutes)d minutes") % {"minutes": given}), to=reverse("reservations:detail", args=[found.pk]))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def release(request: HttpRequest, reservation_id: UUID) -> HttpResponse:
    user = person(request)
    found = get_reservation(user, reservation_id, to_change=True)
    if request.method == "POST":
        revoke.release(found, actor=user.as_actor())
        return answer(request, Toast(_("Given back"), _("Its machines are being cleaned.")), to=reverse("reservations:detail", args=[found.pk]))
    return render(request, "reservations/release.html", {"one": found, "allocations": found.allocations.select_related("machine")})


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def release_all(request: HttpRequest) -> HttpResponse:
    user = person(request)
    require(user, "reservations.any")
    count = Reservation.objects.filter(state__in=(State.WAITING, State.REQUESTED, State.PROVISIONING, State.ACTIVE)).count()
    if request.method == "POST":
        seen = request.POST.get("confirm", "")
        given = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 8 else -1
        done = revoke.release_all(actor=user.as_actor(), confirm=given)
        return answer(request, Toast(_("%(count)d reservations ended") % {"count": done}), to=reverse("reservations:list") + "?whose=all")
    people = sorted({one.owner_label for one in Reservation.objects.filter(state__in=OPEN)[:500]})
    return render(request, "reservations/release_all.html", {"count": count, "people": people})


@require_GET
@signed_in
def usage(request: HttpRequest) -> HttpResponse:
    """Hours held, by person and by machine."""
    user = person(request)
    require_part(user)
    days = {"7": 7, "30": 30, "90": 90, "365": 365}.get(request.GET.get("days", ""), 30)
    until: datetime = clock.now()
    owner = None if has(user, "reservations.any") else user
    people, machines = selectors.usage(since=until - timedelta(days=days), until=until, owner=owner)

    def table(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        most = max((entry["seconds"] for entry in found.values()), default=0.0) or 1.0
        rows = [
            {"label": e["label"], "hours": e["seconds"] / 3600, "count": len(e["reservations"]), "share": round(100 * e["seconds"] / most)}
            for e in found.values()
        ]
        return sorted(rows, key=lambda row: (-row["hours"], row["label"]))

    context = {"people": table(people), "machines": table(machines), "days": days, "choices": (7, 30, 90, 365), "everybody": owner is None}
    return render(request, "reservations/usage.html", context)
