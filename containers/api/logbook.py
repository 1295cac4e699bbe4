"""Doors to logs of many containers, of containers that are gone, to saved searches and to alerts."""

from __future__ import annotations

from typing import Any, cast

from django.db import IntegrityError, transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import has, require
from accounts.grants import holds_any
from agent.protocol.commands import LogsQuery
from containers import access, logs
from containers.api.filters import ContainerFilter
from containers.api.serializers import STREAMS, LogLineSerializer, LogsQuerySerializer, LogsSerializer
from containers.api.views import ASKS_NODE, actor_of, checked, log_file, log_page, log_query
from containers.loglevels import LEVELS
from containers.models import Container, KeptLog, LogAlert, LogFilter
from containers.services import logwatch
from containers.services.logsearch import MOST_CONTAINERS, PER_CONTAINER, search_logs
from lormas.common import clock
from lormas.common.api.serializers import StrictSerializer, TimeField
from lormas.common.errors import Conflict, NotFound

NARROW = ("node", "cluster", "owner", "egg", "label", "status")
NARROWING: tuple[OpenApiParameter, ...] = (
    *(OpenApiParameter(name, str) for name in NARROW),
    OpenApiParameter("name", str, description="Of the containers: name, image or id."),
)
MOST_FILTERS = 100


class LogSearchSerializer(StrictSerializer):
    """Query of `GET /api/logs`."""

    search = serializers.CharField(max_length=256, required=False, default="", help_text="Plain text, or `regex:` and a pattern.")
    level = serializers.ChoiceField(choices=LEVELS, required=False)
    stream = serializers.ChoiceField(choices=STREAMS, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=200)


class OfSerializer(StrictSerializer):
    """Whose line it is."""

    id = serializers.UUIDField()
    name = serializers.CharField()


class FoundLineSerializer(LogLineSerializer):
    """A line and its container."""

    container = OfSerializer()


class SilentSerializer(OfSerializer):
    """Whom nobody could ask."""

    detail = serializers.CharField()


class FoundLinesSerializer(StrictSerializer):
    """Answer of `GET /api/logs`: newest first."""

    lines = FoundLineSerializer(many=True)
    asked = serializers.IntegerField()
    silent = SilentSerializer(many=True)
    more = serializers.BooleanField()


class KeptLogSerializer(serializers.ModelSerializer[KeptLog]):
    """The log of a container that is gone."""

    node = serializers.CharField(source="node.name", read_only=True)
    deleted_at = TimeField(read_only=True)

    class Meta:
        model = KeptLog
        fields = ["id", "name", "node", "deleted_at"]
        read_only_fields = fields


class FilterQuerySerializer(StrictSerializer):
    """What a saved search looks for."""

    search = serializers.CharField(max_length=256, required=False, allow_blank=True)
    level = serializers.ChoiceField(choices=["", *LEVELS], required=False)
    stream = serializers.ChoiceField(choices=["", *STREAMS], required=False)
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, help_text="Of the containers: name, image or id.")


class LogFilterSerializer(StrictSerializer):
    """A saved search; yours alone."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=64)
    query = FilterQuerySerializer()


class LogAlertSerializer(StrictSerializer):
    """A pattern to hear of: its journal row is `containers.log_alert`."""

    id = serializers.UUIDField(read_only=True)
    pattern = serializers.CharField(max_length=256, min_length=2)
    is_enabled = serializers.BooleanField(default=True)
    matches = serializers.IntegerField(read_only=True)
    matched_at = TimeField(read_only=True, allow_null=True)
    matched_text = serializers.CharField(read_only=True)
    problem = serializers.CharField(read_only=True, help_text="Why it could not be looked at last time, or is paused.")
    paused_at = TimeField(
        read_only=True, allow_null=True, help_text="Since then it is not looked at: its pattern was too slow for its node. A PATCH lets it go on."
    )


class LogAlertChangeSerializer(StrictSerializer):
    """Body of `PATCH`; what is left out stays."""

    pattern = serializers.CharField(max_length=256, min_length=2, required=False)
    is_enabled = serializers.BooleanField(required=False)


def may_read(user: Any) -> None:
    """Raises Forbidden: neither their role nor a grant lets them read any log."""
    if not holds_any(access.grant_kind(), user):
        require(user, "containers.logs")


def readable(user: Any, params: Any) -> list[Container]:
    """Containers by the filters of `GET /api/containers` whose logs this person may read."""
    found = ContainerFilter(params, queryset=access.visible_containers(user).for_list()).qs.order_by("-status_since", "id")
    rows = list(found[: MOST_CONTAINERS * 2])
    held = access.rights_on(user, rows)
    return [one for one in rows if "containers.logs" in held[one.pk] and one.node_id][:MOST_CONTAINERS]


class LogsEverywhere(APIView):
    """Search the logs of all containers that you may read: the hundred that changed last, narrowed by the filters of the list."""

    @extend_schema(
        operation_id="logs_search",
        parameters=[LogSearchSerializer, *NARROWING],
        responses={200: FoundLinesSerializer},
    )
    def get(self, request: Request) -> Response:
        may_read(request.user)
        given = request.query_params.dict()
        narrowing = {name: given.pop(name) for name in NARROW if name in given}
        if "name" in given:
            narrowing["search"] = given.pop("name")
        asked = checked(LogSearchSerializer, given)
        query = LogsQuery(
            streams=[asked["stream"]] if asked.get("stream") else [],
            tail=0 if asked.get("since") else PER_CONTAINER,
            since=clock.rfc3339(asked.get("since")) or "",
            until=clock.rfc3339(asked.get("until")) or "",
            search=asked["search"],
            limit=PER_CONTAINER,
        )
        found = search_logs(readable(request.user, narrowing), query, level=asked.get("level", ""), limit=asked["limit"])
        return Response({"lines": found.lines, "asked": found.asked, "silent": found.silent, "more": found.more})


def kept_logs(user: Any) -> Any:
    """Logs of containers that are gone: one's own, or all for those who see all."""
    if not has(user, "containers.logs"):
        return KeptLog.objects.none()
    rows = KeptLog.objects.select_related("node")
    return rows if has(user, "containers.any") else rows.filter(owner=user)


def get_kept(user: Any, container_id: str) -> Any:
    """Raises NotFound. Good for `containers.logs`: it has `pk`, `node`, `status`."""
    found = kept_logs(user).filter(pk=container_id).first()
    if found is None:
        raise NotFound(f"No log of {container_id} is kept, or it is not yours to see.")
    found.status = "deleted"
    return found


class KeptLogs(ListAPIView):  # type: ignore[type-arg]
    """Logs of containers that are gone, newest first."""

    serializer_class = KeptLogSerializer

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return KeptLog.objects.none()
        may_read(self.request.user)
        return kept_logs(self.request.user)


class KeptLogLines(APIView):
    """Read one of them."""

    problem_statuses = ASKS_NODE

    @extend_schema(parameters=[LogsQuerySerializer], responses={200: LogsSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        kept = get_kept(request.user, container_id)
        asked = checked(LogsQuerySerializer, request.query_params.dict())
        return Response(log_page(logs.read(kept, log_query(asked)), level=asked.get("level", "")))


class KeptLogDownload(APIView):
    """One of them as a file."""

    problem_statuses = ASKS_NODE

    @extend_schema(
        responses={(200, "text/plain"): str, (200, "application/gzip"): OpenApiTypes.BINARY},
        parameters=[OpenApiParameter("stream", str), OpenApiParameter("compress", str, enum=["gzip"])],
    )
    def get(self, request: Request, container_id: str) -> Any:
        return log_file(get_kept(request.user, container_id), request)


class LogFilters(APIView):
    """Your saved searches."""

    problem_statuses = (409,)

    @extend_schema(responses={200: LogFilterSerializer(many=True)})
    def get(self, request: Request) -> Response:
        may_read(request.user)
        return Response(LogFilterSerializer(LogFilter.objects.filter(owner=cast(Any, request.user)), many=True).data)

    @extend_schema(request=LogFilterSerializer, responses={201: LogFilterSerializer})
    def post(self, request: Request) -> Response:
        may_read(request.user)
        body = checked(LogFilterSerializer, request.data)
        own = LogFilter.objects.filter(owner=cast(Any, request.user))
        if own.count() >= MOST_FILTERS:
            raise Conflict(f"You have {MOST_FILTERS} saved searches: remove one first.", code="too_many")
        try:
            with transaction.atomic():
                made = LogFilter.objects.create(owner=cast(Any, request.user), name=body["name"], query=dict(body["query"]))
        except IntegrityError:
            raise Conflict(f"You have a saved search named {body['name']} already.", code="name_taken") from None
        return Response(LogFilterSerializer(made).data, status=status.HTTP_201_CREATED)


class LogFilterOne(APIView):
    """One of them."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, filter_id: str) -> Response:
        may_read(request.user)
        if not LogFilter.objects.filter(owner=cast(Any, request.user), pk=filter_id).delete()[0]:
            raise NotFound("There is no such saved search of yours.")
        return Response(status=status.HTTP_204_NO_CONTENT)


class LogAlerts(APIView):
    """Patterns to hear of, of one container. Looked at once a minute."""

    problem_statuses = (409,)

    @extend_schema(responses={200: LogAlertSerializer(many=True)})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.logs")
        return Response(LogAlertSerializer(LogAlert.objects.filter(container=container), many=True).data)

    @extend_schema(request=LogAlertSerializer, responses={201: LogAlertSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        access.get_container(request.user, container_id, "containers.logs")
        container = access.get_container(request.user, container_id, "containers.edit")
        body = checked(LogAlertSerializer, request.data)
        made = logwatch.add_alert(container, user=request.user, actor=actor_of(request), **body)
        return Response(LogAlertSerializer(made).data, status=status.HTTP_201_CREATED)


class LogAlertOne(APIView):
    """One of them."""

    @extend_schema(request=LogAlertChangeSerializer, responses={200: LogAlertSerializer})
    def patch(self, request: Request, container_id: str, alert_id: str) -> Response:
        """Change it. One that was paused goes on: each line from now on is looked at."""
        alert = self._editable(request, container_id, alert_id)
        body = checked(LogAlertChangeSerializer, request.data)
        return Response(LogAlertSerializer(logwatch.change_alert(alert, actor=actor_of(request), **body)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, container_id: str, alert_id: str) -> Response:
        logwatch.remove_alert(self._editable(request, container_id, alert_id), actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _editable(self, request: Request, container_id: str, alert_id: str) -> LogAlert:
        container = access.get_container(request.user, container_id, "containers.edit")
        found = LogAlert.objects.filter(container=container, pk=alert_id).first()
        if found is None:
            raise NotFound("There is no such alert.")
        found.container = container  # with its node
        return found
