"""Doors of a container's schedules."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import access
from containers.api.views import actor_of, checked
from containers.models import Schedule, ScheduleRun
from containers.schedule_rules import next_runs, words
from containers.services import scheduleruns, schedules
from lormas.common import clock
from lormas.common.api.serializers import StrictSerializer, TimeField
from lormas.common.errors import NotFound


class StepField(serializers.JSONField):
    """A step; its shape is said in the list's help text."""


STEPS = (
    "1 to 10, in order: {kind: power, action: start|stop|restart|kill}, {kind: command, command}: a line for its console, {kind: backup, name?, "
    "stop_first?} or {kind: wait, seconds}; each with offset_seconds? (to wait before it) and continue_on_failure?."
)
WHEN = "Of triggers other than cron: {status}, {pattern} or {resource: cpu|memory|disk, above: percent, minutes}; {} for crash."


class ScheduleSerializer(StrictSerializer):
    """Steps that run by the clock or because something happened, with the rights of their author."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=64)
    is_enabled = serializers.BooleanField(default=True)
    trigger = serializers.ChoiceField(choices=Schedule.Trigger.choices, default="cron")
    cron = serializers.CharField(max_length=120, required=False, allow_blank=True, default="")
    timezone = serializers.CharField(max_length=64, required=False, help_text="Default: yours.")
    when = serializers.DictField(required=False, default=dict, help_text=WHEN)
    missed = serializers.ChoiceField(
        choices=Schedule.Missed.choices, default="skip", help_text="What becomes of a run that nobody could begin in time."
    )
    only_when_running = serializers.BooleanField(default=False)
    steps = serializers.ListField(child=StepField(), max_length=10, help_text=STEPS)
    author = serializers.CharField(read_only=True, allow_blank=True)
    words = serializers.CharField(read_only=True)
    next_runs = serializers.ListField(child=TimeField(), read_only=True)
    last_run = serializers.DictField(read_only=True, allow_null=True, help_text="{id, state, created_at, problem}")
    created_at = TimeField(read_only=True)
    updated_at = TimeField(read_only=True)


class ScheduleChangeSerializer(ScheduleSerializer):
    """Any of its fields."""

    name = serializers.CharField(max_length=64, required=False)
    is_enabled = serializers.BooleanField(required=False)
    trigger = serializers.ChoiceField(choices=Schedule.Trigger.choices, required=False)
    cron = serializers.CharField(max_length=120, required=False, allow_blank=True)
    when = serializers.DictField(required=False, help_text=WHEN)
    missed = serializers.ChoiceField(choices=Schedule.Missed.choices, required=False)
    only_when_running = serializers.BooleanField(required=False)
    steps = serializers.ListField(child=StepField(), max_length=10, required=False, help_text=STEPS)


class ScheduleRunSerializer(serializers.ModelSerializer[ScheduleRun]):
    """One run with what came of each step."""

    created_at = TimeField(read_only=True)
    finished_at = TimeField(read_only=True)

    class Meta:
        model = ScheduleRun
        fields = ["id", "cause", "state", "problem", "steps", "position", "created_at", "finished_at"]
        read_only_fields = fields


def upcoming(schedule: Schedule, count: int = 5) -> list[Any]:
    """Its next runs; none of one that is off or waits for something else than the clock."""
    if not schedule.is_enabled or schedule.trigger != Schedule.Trigger.CRON:
        return []
    try:
        return list(next_runs(schedule.cron, schedule.timezone, after=clock.now(), count=count))
    except ValueError:
        return []


def shown(schedule: Schedule) -> dict[str, Any]:
    """As the API gives it."""
    last = schedule.runs.first()
    body = {
        **{name: getattr(schedule, name) for name in ("id", *schedules.FIELDS, "created_at", "updated_at")},
        "author": schedule.author.label if schedule.author else "",
        "words": words(schedule),
        "next_runs": upcoming(schedule),
        "last_run": {"id": str(last.pk), "state": last.state, "created_at": clock.rfc3339(last.created_at), "problem": last.problem}
        if last
        else None,
    }
    return dict(ScheduleSerializer(body).data)


def get_schedule(user: Any, container_id: Any, schedule_id: Any) -> Schedule:
    """Another container's is NotFound (D02)."""
    container = access.get_container(user, container_id, schedules.MINE)
    found = Schedule.objects.select_related("container__node", "container__operation", "author").filter(container=container, pk=schedule_id).first()
    if found is None:
        raise NotFound(f"{container.name} has no such schedule.")
    return found


class Schedules(APIView):
    """A container's schedules."""

    problem_statuses = (409,)

    @extend_schema(operation_id="containers_schedules_list", responses={200: ScheduleSerializer(many=True)})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, schedules.MINE)
        return Response([shown(one) for one in container.schedules.select_related("author")])

    @extend_schema(request=ScheduleSerializer, responses={201: ScheduleSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, schedules.MINE)
        body = checked(ScheduleSerializer, request.data)
        body.setdefault("timezone", getattr(request.user, "time_zone", "") or "UTC")
        made = schedules.add(container, user=request.user, actor=actor_of(request), given=body)
        return Response(shown(made), status=status.HTTP_201_CREATED)


class ScheduleOne(APIView):
    """One of them. Whoever changes it answers for its steps from then on."""

    problem_statuses = (409,)

    @extend_schema(responses={200: ScheduleSerializer})
    def get(self, request: Request, container_id: str, schedule_id: str) -> Response:
        return Response(shown(get_schedule(request.user, container_id, schedule_id)))

    @extend_schema(request=ScheduleChangeSerializer, responses={200: ScheduleSerializer})
    def patch(self, request: Request, container_id: str, schedule_id: str) -> Response:
        found = get_schedule(request.user, container_id, schedule_id)
        body = checked(ScheduleChangeSerializer, request.data)
        return Response(shown(schedules.change(found, user=request.user, actor=actor_of(request), given=body)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, container_id: str, schedule_id: str) -> Response:
        schedules.remove(get_schedule(request.user, container_id, schedule_id), actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ScheduleRunNow(APIView):
    """Run it now, with your own rights."""

    problem_statuses = (409,)

    @extend_schema(request=None, responses={202: ScheduleRunSerializer})
    def post(self, request: Request, container_id: str, schedule_id: str) -> Response:
        found = get_schedule(request.user, container_id, schedule_id)
        made = scheduleruns.run_now(found, user=request.user, actor=actor_of(request))
        return Response(ScheduleRunSerializer(made).data, status=status.HTTP_202_ACCEPTED)


class ScheduleRuns(ListAPIView):  # type: ignore[type-arg]
    """Its last runs, newest first."""

    serializer_class = ScheduleRunSerializer
    problem_statuses = (404,)

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return ScheduleRun.objects.none()
        return get_schedule(self.request.user, self.kwargs["container_id"], self.kwargs["schedule_id"]).runs.all()


__all__ = ["ScheduleOne", "ScheduleRunNow", "ScheduleRuns", "Schedules", "get_schedule", "shown", "upcoming"]
