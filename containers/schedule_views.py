"""The Schedules tab of a container."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from containers.access import get_container
from containers.api.schedules import get_schedule, upcoming
from containers.models import Container, Schedule
from containers.schedule_rules import MOST_STEPS, RESOURCES, STATES, words
from containers.services import scheduleruns, schedules
from containers.states import Status
from containers.views import frame
from lormas.common.errors import Problem
from lormas.common.forms import ServiceForm
from lormas.common.pages import Toast, answer, page_of, person, signed_in

ACTS: tuple[tuple[str, Any], ...] = (
    ("", gettext_lazy("No step")),
    ("start", gettext_lazy("Start it")),
    ("stop", gettext_lazy("Stop it")),
    ("restart", gettext_lazy("Restart it")),
    ("kill", gettext_lazy("Kill it")),
    ("command", gettext_lazy("Write a line to its console")),
    ("backup", gettext_lazy("Back it up")),
    ("backup-stopped", gettext_lazy("Back it up, stopped for the time")),
    ("wait", gettext_lazy("Wait")),
)
SPARE_ROWS = 2


class ScheduleForm(ServiceForm):
    """When it runs; the steps are rows of their own."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=64)
    is_enabled = forms.BooleanField(label=gettext_lazy("Switched on"), required=False, initial=True)
    trigger = forms.ChoiceField(label=gettext_lazy("When"), choices=Schedule.Trigger.choices)
    cron = forms.CharField(
        label=pgettext_lazy("when it runs", "Times"),
        max_length=120,
        required=False,
        help_text=gettext_lazy("Minute, hour, day of the month, month, day of the week: 30 4 * * * is each day at 4:30."),
        widget=forms.TextInput(attrs={"class": "mono", "placeholder": "30 4 * * *"}),
    )
    timezone = forms.CharField(label=gettext_lazy("Time zone"), max_length=64, required=False)
    missed = forms.ChoiceField(
        label=gettext_lazy("If a run was missed"), choices=[("skip", gettext_lazy("Leave it out")), ("once", gettext_lazy("Run it once, late"))]
    )
    status = forms.ChoiceField(
        label=gettext_lazy("State that it takes on"), required=False, choices=[("", "–"), *((one.value, Status(one).label) for one in STATES)]
    )
    pattern = forms.CharField(
        label=gettext_lazy("Text that it writes"), max_length=256, required=False, help_text=gettext_lazy("Plain text, or regex: and a pattern."),
        widget=forms.TextInput(attrs={"class": "mono"}),
    )  # fmt: skip
    resource = forms.ChoiceField(label=gettext_lazy("Resource"), required=False, choices=[("", "–"), *((one, one) for one in RESOURCES)])
    above = forms.IntegerField(label=gettext_lazy("Above"), min_value=1, max_value=100, required=False)
    minutes = forms.IntegerField(label=gettext_lazy("For"), min_value=1, max_value=60, required=False)
    only_when_running = forms.BooleanField(label=gettext_lazy("Only while it runs"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["above"].unit = _("% of its limit")  # type: ignore[attr-defined]
        self.fields["minutes"].unit = _("minutes")  # type: ignore[attr-defined]

    def place_of(self, field: str) -> str | None:
        return super().place_of(field.removeprefix("when."))

    def given(self, steps: list[dict[str, Any]]) -> dict[str, Any]:
        """As the service takes it."""
        said = self.cleaned_data
        when = {name: said[name] for name in ("status", "pattern", "resource", "above", "minutes") if said[name] not in ("", None)}
        plain = {name: said[name] for name in ("name", "is_enabled", "trigger", "cron", "missed", "only_when_running")}
        return {**plain, "timezone": said["timezone"] or "UTC", "when": when, "steps": steps}


def _rows(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps as rows of the form, with some to spare."""
    rows = []
    for step in steps:
        kind = step["kind"]
        act = step["action"] if kind == "power" else "backup-stopped" if kind == "backup" and step.get("stop_first") else kind
        text = step.get("command") or step.get("name") or step.get("seconds") or ""
        rows.append({"act": act, "text": text, "offset": step.get("offset_seconds") or "", "goes_on": step.get("continue_on_failure", False)})
    spare = min(SPARE_ROWS if rows else 3, MOST_STEPS - len(rows))
    rows += [{"act": "", "text": "", "offset": "", "goes_on": False} for _ in range(spare)]
    return [{**row, "number": number} for number, row in enumerate(rows)]


def _posted(data: Any) -> list[dict[str, Any]]:
    """Rows of the form as steps; what is no number stays a text, and the service says so."""
    steps = []
    for number in range(MOST_STEPS):
        act, text = data.get(f"act-{number}", ""), data.get(f"text-{number}", "").strip()
        if not act:
            continue
        step: dict[str, Any] = {"offset_seconds": _number(data.get(f"offset-{number}", "").strip() or "0")}
        step["continue_on_failure"] = data.get(f"goes_on-{number}") == "1"
        if act in ("backup", "backup-stopped"):
            step |= {"kind": "backup", "name": text, "stop_first": act == "backup-stopped"}
        elif act == "command":
            step |= {"kind": "command", "command": text}
        elif act == "wait":
            step |= {"kind": "wait", "seconds": _number(text)}
        else:
            step |= {"kind": "power", "action": act}
        steps.append(step)
    return steps


def _number(text: str) -> Any:
    return int(text) if text.isdigit() and len(text) < 8 else text


@require_GET
@signed_in
def schedules_page(request: HttpRequest, container_id: UUID) -> HttpResponse:
    user = person(request)
    container = get_container(user, container_id, schedules.MINE)
    found = container.schedules.select_related("author", "container")
    rows = [{"one": one, "words": words(one), "next": upcoming(one, 1), "last": one.runs.first()} for one in found]
    context = {**frame(user, container, "schedules"), "rows": rows, "full": len(rows) >= schedules.MOST_PER_CONTAINER}
    return render(request, "containers/_schedules_list.html" if request.headers.get("X-Live") else "containers/schedules.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new_page(request: HttpRequest, container_id: UUID) -> HttpResponse:
    container = get_container(person(request), container_id, schedules.MINE)
    return _edit(request, container, None)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def schedule_page(request: HttpRequest, container_id: UUID, schedule_id: UUID) -> HttpResponse:
    """One of them: what it does, when next, what came of it."""
    one = get_schedule(person(request), container_id, schedule_id)
    return _edit(request, one.container, one)


def _edit(request: HttpRequest, container: Container, one: Schedule | None) -> HttpResponse:
    user = person(request)
    steps = _posted(request.POST) if request.method == "POST" else (one.steps if one else [])
    form = ScheduleForm(request.POST or None, initial=_initial(one, user))
    if request.method == "POST" and form.is_valid():
        try:
            if one is None:
                made = schedules.add(container, user=user, actor=user.as_actor(), given=form.given(steps))
            else:
                made = schedules.change(one, user=user, actor=user.as_actor(), given=form.given(steps))
        except Problem as problem:
            form.take(problem)
        else:
            return answer(request, Toast(_("Saved"), words(made)), to=reverse("containers:schedule", args=[container.pk, made.pk]))
    context: dict[str, Any] = {
        **frame(user, container, "schedules"),
        "form": form,
        "one": one,
        "rows": _rows([step for step in steps if step.get("kind")]),
        "acts": ACTS,
    }
    if one is not None:
        context |= {"words": words(one), "next": upcoming(one), "page": page_of(request, one.runs.all(), size=10)}
        if request.headers.get("X-Live"):
            return render(request, "containers/_schedule_runs.html", context)
    return render(request, "containers/schedule.html", context, status=400 if request.method == "POST" else 200)


def _initial(one: Schedule | None, user: Any) -> dict[str, Any]:
    if one is None:
        return {"timezone": getattr(user, "time_zone", "") or "UTC", "is_enabled": True, "trigger": "cron", "missed": "skip"}
    return {**schedules.shown(one), **one.when}


@require_POST
@signed_in
def act(request: HttpRequest, container_id: UUID, schedule_id: UUID, what: str) -> HttpResponse:
    """run, on, off, remove."""
    user = person(request)
    one = get_schedule(user, container_id, schedule_id)
    to = reverse("containers:schedules", args=[one.container_id])
    if what == "run":
        scheduleruns.run_now(one, user=user, actor=user.as_actor())
        return answer(request, Toast(_("%(name)s runs") % {"name": one.name}), to=reverse("containers:schedule", args=[one.container_id, one.pk]))
    if what == "remove":
        schedules.remove(one, actor=user.as_actor())
        return answer(request, Toast(_("Schedule removed")), to=to)
    schedules.change(one, user=user, actor=user.as_actor(), given={"is_enabled": what == "on"})
    return answer(request, Toast(_("Switched on") if what == "on" else _("Switched off")), to=to)
