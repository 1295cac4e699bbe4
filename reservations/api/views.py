"""Doors of the reservations API: parse, ask access, call one service, render."""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import has, require
from accounts.authentication import BearerAuthentication, ConsoleSessionAuthentication
from accounts.models import Role, User
from lormas.common import clock
from lormas.common.errors import FieldError, Invalid, NotFound
from nodes.api.operations import wait_seconds
from reservations import ical, selectors
from reservations.access import get_machine, get_reservation, require_part, visible_machines, visible_reservations
from reservations.api.authentication import KeyAsPassword
from reservations.api.filters import ReservationFilter
from reservations.api.machines import actor_of, checked
from reservations.api.serializers import (
    DryRunSerializer,
    ExtendSerializer,
    LimitsSerializer,
    MadeReservationSerializer,
    NewReservationSerializer,
    QueueEntrySerializer,
    ReleaseAllSerializer,
    ReleasedSerializer,
    ReservationSerializer,
    SetLimitSerializer,
    UsageSerializer,
)
from reservations.models import Reservation
from reservations.services import extend, limits, revoke
from reservations.services.reserve import Trial, Wish, reserve, try_out
from reservations.states import HOLDING, State

WAIT = OpenApiParameter("wait", float, description="Seconds (at most 60) to wait until it is usable, or failed, before answering.")
MAX_USAGE = timedelta(days=400)


def wish_of(user: Any, body: dict[str, Any]) -> Wish:
    """A validated body as the service wants it. Raises NotFound (a machine), Invalid."""
    named = tuple({machine.pk: machine for machine in (get_machine(user, ref) for ref in body.get("machines", []))}.values())
    starts_at: datetime | None = body.get("starts_at")
    if "until" in body:
        seconds = int((body["until"] - (starts_at or clock.now())).total_seconds())
        if seconds < 60:
            raise Invalid("The reservation can't be made so.", errors=[FieldError("until", "It must end at least a minute after it starts.")])
    else:
        seconds = body["duration_minutes"] * 60
    repeat = body.get("repeat") or {}
    return Wish(
        count=body.get("count") or max(1, len(named)),
        seconds=seconds,
        starts_at=starts_at,
        labels=body.get("labels", {}),
        machines=named,
        password=body.get("reservation_password", ""),
        public_key=body.get("public_key", ""),
        queue=body.get("queue", False),
        partial=body.get("partial", False),
        sudo=body.get("sudo", False),
        purpose=body.get("purpose", ""),
        every=repeat.get("every", ""),
        times=repeat.get("times", 1),
        zone=repeat.get("time_zone", "UTC"),
    )


def plans() -> dict[uuid.UUID, Any]:
    """Places in the queue by reservation."""
    return {plan.ask.id: plan for plan in selectors.queue()}


def rendered(reservation: Reservation, serializer: Any = ReservationSerializer, **more: Any) -> dict[str, Any]:
    """A reservation with its place in the queue, where it waits."""
    context = {"plans": plans() if reservation.state == State.WAITING else {}}
    for name, value in more.items():
        setattr(reservation, name, value)
    found: dict[str, Any] = serializer(reservation, context=context).data
    return found


def fresh(reservation_id: Any) -> Reservation:
    return Reservation.objects.select_related("owner").prefetch_related("allocations__machine", "allocations__reservation").get(pk=reservation_id)


def wait_until_settled(reservation_id: Any, seconds: float) -> Reservation:
    """The reservation once it is usable or has failed, or as it is when the time is over. Blocks its thread; holds no connection while it sleeps."""
    end = time.monotonic() + seconds
    while True:
        reservation = fresh(reservation_id)
        left = end - time.monotonic()
        waits = reservation.state == State.PROVISIONING or (
            reservation.state == State.REQUESTED and reservation.starts_at is not None and reservation.starts_at <= clock.now()
        )
        if not waits or left <= 0:
            return reservation
        if not connection.in_atomic_block:
            connection.close()
        time.sleep(min(0.15, left))


def made_answer(request: Request, made: list[Reservation], *, wait: float) -> Response:
    """201 with the first reservation, and all of its series."""
    first = wait_until_settled(made[0].pk, wait)
    occurrences = [{"id": one.pk, "starts_at": one.starts_at, "ends_at": one.ends_at} for one in made]
    return Response(
        rendered(first, MadeReservationSerializer, occurrences=occurrences),
        status=status.HTTP_201_CREATED,
        headers={"Location": f"/api/reservations/{first.pk}", "Referrer-Policy": "no-referrer"},
    )


def trial_answer(user: Any, trials: list[Trial], *, queue: bool) -> dict[str, Any]:
    names = dict(visible_machines(user).values_list("pk", "name"))
    windows = [
        {
            "starts_at": trial.window.start,
            "ends_at": trial.window.end,
            "enough": trial.choice.enough,
            "machines": [names.get(one, "") for one in trial.choice.machines],
            "free": [names.get(one, "") for one in trial.choice.free],
            "refused": [{"machine": r.machine.name, "rule": r.rule, "reason": r.reason} for r in trial.choice.refused],
            "next_at": trial.choice.next_at,
            "position": trial.position,
        }
        for trial in trials
    ]
    would = "start" if all(window["enough"] for window in windows) else "wait" if queue else "be_refused"
    return {"dry_run": True, "would": would, "windows": windows}


class Reservations(ListAPIView[Reservation]):
    """Your reservations (everybody's, where you may); reserve machines."""

    serializer_class = ReservationSerializer
    filterset_class = ReservationFilter
    search_fields = ["owner_label", "purpose", "username"]
    ordering_fields = ["created_at", "starts_at", "ends_at", "state"]

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Reservation.objects.none()
        return visible_reservations(self.request.user).prefetch_related("allocations__machine", "allocations__reservation")

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "plans": {} if getattr(self, "swagger_fake_view", False) else plans()}

    @extend_schema(tags=["reservations"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List reservations."""
        require_part(request.user)
        return super().get(request, *args, **kwargs)

    @extend_schema(
        tags=["reservations"],
        request=NewReservationSerializer,
        responses={201: MadeReservationSerializer, 200: DryRunSerializer},
        parameters=[WAIT],
    )
    def post(self, request: Request) -> Response:
        """Reserve machines, all or nothing. 409 `not_enough_machines` says how many are free and when more will be."""
        require(request.user, "reservations.create")
        wait = wait_seconds(request)
        body = checked(NewReservationSerializer, request.data)
        wish = wish_of(request.user, body)
        if body.get("dry_run"):
            return Response(DryRunSerializer(trial_answer(request.user, try_out(request.user, wish), queue=wish.queue)).data)
        return made_answer(request, reserve(user=request.user, actor=actor_of(request), wish=wish), wait=wait)


class ReservationDetail(APIView):
    """One reservation."""

    @extend_schema(tags=["reservations"], responses={200: ReservationSerializer}, parameters=[WAIT])
    def get(self, request: Request, reservation_id: uuid.UUID) -> Response:
        """Read a reservation."""
        seconds = wait_seconds(request)
        found = get_reservation(request.user, reservation_id)
        return Response(rendered(wait_until_settled(found.pk, seconds) if seconds else fresh(found.pk)))


class ReservationExtend(APIView):
    """Stay longer."""

    @extend_schema(tags=["reservations"], request=ExtendSerializer, responses={200: ReservationSerializer})
    def post(self, request: Request, reservation_id: uuid.UUID) -> Response:
        """Move the end of an active reservation, where nobody waits for such machines and nobody has booked them."""
        found = get_reservation(request.user, reservation_id, to_change=True)
        body = checked(ExtendSerializer, request.data)
        extend.extend(found, minutes=body["minutes"], actor=actor_of(request))
        return Response(rendered(fresh(found.pk)))


class ReservationRelease(APIView):
    """Give back."""

    @extend_schema(tags=["reservations"], request=None, responses={200: ReservationSerializer})
    def post(self, request: Request, reservation_id: uuid.UUID) -> Response:
        """End it now: accounts, files and processes on its machines go."""
        found = get_reservation(request.user, reservation_id, to_change=True)
        revoke.release(found, actor=actor_of(request))
        return Response(rendered(fresh(found.pk)))


class ReservationReleaseAll(APIView):
    """Everybody's."""

    @extend_schema(tags=["reservations"], request=ReleaseAllSerializer, responses={200: ReleasedSerializer})
    def post(self, request: Request) -> Response:
        """End every open reservation."""
        require(request.user, "reservations.any")
        body = checked(ReleaseAllSerializer, request.data or {})
        return Response({"released": revoke.release_all(actor=actor_of(request), confirm=body.get("confirm"))})


class Queue(APIView):
    """Who waits."""

    @extend_schema(tags=["reservations"], responses={200: QueueEntrySerializer(many=True)}, operation_id="reservations_queue")
    def get(self, request: Request) -> Response:
        """The queue in the order in which it is served, with expected starts."""
        require(request.user, "machines.view")
        rows = {one.pk: one for one in Reservation.objects.filter(state=State.WAITING)}
        sees_all = has(request.user, "reservations.any")
        body = [
            {
                "position": plan.position,
                "person": rows[plan.ask.id].owner_label,
                "count": plan.ask.count,
                "duration_seconds": plan.ask.seconds,
                "labels": plan.ask.labels,
                "queued_at": plan.ask.queued_at,
                "estimated_start": plan.starts_at,
                "reservation": plan.ask.id if sees_all or plan.ask.owner == request.user.pk else None,
            }
            for plan in selectors.queue()
            if plan.ask.id in rows
        ]
        return Response(QueueEntrySerializer(body, many=True).data)


def moment(request: Request, name: str, default: datetime) -> datetime:
    """A time from the query. Raises ValidationError."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    found = clock.parse_rfc3339(text)
    if found is None:
        raise ValidationError({name: ["An RFC 3339 time, such as 2026-11-21T00:00:00Z."]})
    return found


class Usage(APIView):
    """Time held."""

    @extend_schema(
        tags=["reservations"],
        responses={200: UsageSerializer},
        parameters=[
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="Default: 30 days ago."),
            OpenApiParameter("until", OpenApiTypes.DATETIME),
        ],
    )
    def get(self, request: Request) -> Response:
        """Machine hours by person and by machine: your own, or everybody's where you may see them."""
        require_part(request.user)
        until = moment(request, "until", clock.now())
        since = moment(request, "since", until - timedelta(days=30))
        if not timedelta() < until - since <= MAX_USAGE:
            raise ValidationError({"since": [f"Must lie before `until`, by at most {MAX_USAGE.days} days."]})
        owner = None if has(request.user, "reservations.any") else request.user
        people, machines = selectors.usage(since=since, until=until, owner=owner)

        def rows(table: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
            found = [
                {"id": key, "name": e["label"], "machine_hours": round(e["seconds"] / 3600, 3), "reservations": len(e["reservations"])}
                for key, e in table.items()
            ]
            return sorted(found, key=lambda row: (-row["machine_hours"], row["name"]))

        return Response(UsageSerializer({"since": since, "until": until, "people": rows(people), "machines": rows(machines)}).data)


class LimitsView(APIView):
    """How much you may hold."""

    @extend_schema(tags=["reservations"], responses={200: LimitsSerializer}, operation_id="reservations_limits")
    def get(self, request: Request) -> Response:
        """What counts for you."""
        return Response(LimitsSerializer(limits.limits_of(request.user)).data)

    @extend_schema(tags=["reservations"], request=SetLimitSerializer, responses={204: None}, operation_id="reservations_limits_set")
    def put(self, request: Request) -> Response:
        """Set the limit of a person or of a role."""
        require(request.user, "machines.manage")
        body = checked(SetLimitSerializer, request.data)
        user = User.objects.filter(pk=body.pop("user")).first() if "user" in body else None
        role = Role.objects.filter(pk=body.pop("role")).first() if "role" in body else None
        if user is None and role is None:
            raise NotFound("There is no such person or role.")
        limits.set_limit(actor=actor_of(request), user=user, role=role, **body)
        return Response(status=status.HTTP_204_NO_CONTENT)


class Calendar(APIView):
    """Your reservations as a calendar feed."""

    authentication_classes = [KeyAsPassword, BearerAuthentication, ConsoleSessionAuthentication]

    @extend_schema(tags=["reservations"], responses={(200, "text/calendar"): OpenApiTypes.STR}, operation_id="reservations_calendar")
    def get(self, request: Request) -> HttpResponse:
        """iCalendar, for programs that subscribe: signs in by HTTP Basic with an API key as the password, too."""
        require_part(request.user)
        since = clock.now() - timedelta(days=30)
        found = visible_reservations(request.user).filter(owner_id=request.user.pk, ends_at__gte=since, starts_at__isnull=False)
        events = []
        for one in found.filter(state__in=(*HOLDING, State.ENDED)).prefetch_related("allocations__machine").order_by("starts_at")[:500]:
            names = ", ".join(allocation.machine.name for allocation in one.allocations.all())
            end = min(one.ends_at, one.ended_at) if one.ended_at and one.ends_at else one.ends_at
            if one.starts_at is None or end is None or end <= one.starts_at:
                continue
            word = f"{one.count} machine{'s' if one.count != 1 else ''}"
            events.append(
                ical.Event(
                    f"{one.pk}@lormas", one.starts_at, end, f"{one.purpose or word}: {names}" if names else word,
                    f"Account {one.username} on {names}. {one.get_state_display()}.", changed=one.updated_at,
                )
            )  # fmt: skip
        text = ical.calendar(events, name="Lormas reservations", now=clock.now())
        headers = {"Content-Disposition": 'inline; filename="reservations.ics"'}
        return HttpResponse(text, content_type="text/calendar; charset=utf-8", headers=headers)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Calendar programs ask for the password only when they are challenged for Basic."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        if answer.status_code == 401:
            answer.headers["WWW-Authenticate"] = 'Basic realm="Lormas calendar", charset="UTF-8"'
        return answer
