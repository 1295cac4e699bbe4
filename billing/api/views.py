"""Doors of the billing API: parse, ask access, read, render."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import selectors
from billing.access import visible_hours
from lormas.common import clock
from lormas.common.api.serializers import StrictSerializer, TimeField


class AmountsSerializer(StrictSerializer):
    """What was used. A byte-second is a byte held for a second."""

    cpu_core_seconds = serializers.FloatField()
    memory_byte_seconds = serializers.FloatField()
    disk_byte_seconds = serializers.FloatField()
    network_rx_bytes = serializers.IntegerField()
    network_tx_bytes = serializers.IntegerField()
    running_seconds = serializers.FloatField()
    seconds_unmeasured = serializers.FloatField(help_text="In which no sample came: memory and disk in them are not counted.")
    seconds_without_cpu = serializers.FloatField(help_text="Measured by an agent too old to tell CPU totals.")
    seconds_without_disk = serializers.FloatField(help_text="Sampled while the agent did not know yet what is on the disk: its disk is not counted.")


class UsageGroupSerializer(AmountsSerializer):
    """One hour, day, container or owner: the member that names it is there, the others are not."""

    time = TimeField(required=False, help_text="Begin of the hour or day, UTC.")
    container_id = serializers.UUIDField(required=False)
    name = serializers.CharField(required=False, help_text="The container's.")
    owner_id = serializers.UUIDField(required=False)


class ContainerUsageSerializer(StrictSerializer):
    """Answer of `GET /usage`."""

    since = TimeField()
    to = TimeField()
    group_by = serializers.ChoiceField(choices=selectors.GROUPS)
    groups = UsageGroupSerializer(many=True)
    left_off = serializers.IntegerField(help_text="Groups that are not shown, but are in the total.")
    total = AmountsSerializer()

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        found = super().get_fields()
        del found["since"]
        # `from` is no name for an attribute.
        return {"from": TimeField(source="since"), **found}


class Usage(APIView):
    """Usage of containers by the hour."""

    @extend_schema(
        tags=["usage"],
        responses={200: ContainerUsageSerializer},
        parameters=[
            OpenApiParameter(
                "container", OpenApiTypes.UUID, description="One container, also one that is gone. Default: all of yours, or everybody's."
            ),
            OpenApiParameter("from", OpenApiTypes.DATETIME, description="Rounded down to the hour. Default: 7 days before `to`."),
            OpenApiParameter("to", OpenApiTypes.DATETIME, description="Default: now."),
            OpenApiParameter("group_by", str, enum=list(selectors.GROUPS), description="Default: day."),
        ],
    )
    def get(self, request: Request) -> Response:
        """What containers used: your own, or everybody's where you may see that; of one container whoever may see it."""
        hours = visible_hours(request.user, _container(request))
        group_by = request.query_params.get("group_by") or "day"
        if group_by not in selectors.GROUPS:
            raise ValidationError({"group_by": [f"One of {', '.join(selectors.GROUPS)}."]})
        until = _moment(request, "to", clock.now())
        most = selectors.MAX_SPAN[group_by]
        try:
            since = _moment(request, "from", until - timedelta(days=7))
        except OverflowError:
            raise ValidationError({"to": ["Too early."]}) from None
        if not timedelta() < until - since <= most:
            raise ValidationError({"from": [f"Must lie before `to`, by at most {most.days} days where usage is grouped by {group_by}."]})
        found = selectors.usage(hours, since=since, until=until, group_by=group_by)
        return Response(ContainerUsageSerializer({"since": since, "to": until, "group_by": group_by, **found}).data)


def _container(request: Request) -> UUID | None:
    text = request.query_params.get("container", "")
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise ValidationError({"container": ["Must be a valid UUID."]}) from None


def _moment(request: Request, name: str, default: datetime) -> datetime:
    text = request.query_params.get(name, "")
    if not text:
        return default
    found = clock.parse_rfc3339(text)
    try:
        if found is not None:
            return found.astimezone(UTC)
    except OverflowError:
        pass
    raise ValidationError({name: ["An RFC 3339 time, such as 2026-11-21T00:00:00Z."]})
