"""Doors of the containers API: parse, ask access, call one service, render."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.grants import holds_any
from accounts.models import User
from agent.protocol.commands import LogsQuery
from audit.services import Actor
from containers import access, loglevels, logs, services, stats
from containers.api.filters import ContainerFilter
from containers.api.serializers import (
    CommandLineSerializer,
    ContainerChangeSerializer,
    LogEntryAnswerSerializer,
    LogEntrySerializer,
    LogsFollowSerializer,
    LogsQuerySerializer,
    LogsSerializer,
    NewContainerSerializer,
    PowerSerializer,
    StatsHistorySerializer,
    StatsSampleSerializer,
    resolve_new,
)
from containers.api.shown import ChangedContainerSerializer, ContainerSerializer, CreatedContainerSerializer
from containers.models import Container
from containers.services import PortWish, edit
from containers.services.clear import clear_state
from containers.services.power import ACTIONS, CAPABILITY
from lormas.common import clock
from lormas.common.database import one
from lormas.common.errors import NotFound
from nodes.access import get_node
from nodes.api.operations import OperationAnswerSerializer, operation_response, wait_seconds

WAIT = OpenApiParameter("wait", float, description="Seconds (at most 60) to wait for the operation's end before answering.")
OPERATION = {202: OperationAnswerSerializer, 200: OperationAnswerSerializer}
ASKS_NODE = (409, 422, 503, 504)
"""What any question to a node can end in, beside its answer."""


def actor_of(request: Request) -> Actor:
    """The signed-in person as the journal sees them."""
    return cast(User, request.user).as_actor()


def checked(serializer_class: Any, data: Any) -> dict[str, Any]:
    """The validated body, or 400."""
    serializer = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, Any] = serializer.validated_data
    return validated


def spread(body: dict[str, Any]) -> tuple[dict[str, Any], list[PortWish] | None]:
    """A body of changes as the service takes it: (fields, ports)."""
    fields = dict(body)
    limits, wishes = fields.pop("limits", {}), fields.pop("ports", None)
    return {**fields, **limits}, wishes


class ContainerListing(ListAPIView):  # type: ignore[type-arg]
    """All containers you may see."""

    problem_statuses = (404, 503)
    serializer_class = ContainerSerializer
    rows_before_joins = True
    ordering_fields = {"name": "name", "created_at": "created_at", "status": "status", "updated_at": "updated_at"}
    ORDERINGS = {f"{sign}{name}" for name in ordering_fields for sign in ("", "-")}

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Container.objects.none()
        found = access.visible_containers(self.request.user, trash=self.request.query_params.get("trash") == "true").for_list()
        filtered = ContainerFilter(self.request.query_params, queryset=found)
        if not filtered.is_valid():
            raise ValidationError(filtered.errors)
        ordering = self.request.query_params.get("ordering", "-created_at")
        if ordering not in self.ORDERINGS:
            raise ValidationError({"ordering": [f"One of {', '.join(sorted(self.ORDERINGS))}."]})
        return filtered.qs.order_by(ordering, "id")

    @extend_schema(
        parameters=[OpenApiParameter(name, str) for name in ("node", "cluster", "status", "owner", "egg", "label", "search", "ordering")]
        + [OpenApiParameter("trash", bool, description="List the trash instead.")],
        responses={200: ContainerSerializer(many=True)},
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if not holds_any(access.grant_kind(), request.user):
            require(request.user, "containers.view")
        return super().get(request, *args, **kwargs)


class ContainerList(ContainerListing):
    """All containers you may see; create one."""

    @extend_schema(request=NewContainerSerializer, responses={201: CreatedContainerSerializer, **OPERATION}, parameters=[WAIT])
    def post(self, request: Request) -> Response:
        require(request.user, "containers.create")
        wait_seconds(request)
        data = resolve_new(request.user, checked(NewContainerSerializer, request.data))
        container, operation = services.create_container(user=request.user, actor=actor_of(request), data=data)
        answer = operation_response(request, operation)
        fresh = one(access.visible_containers(request.user).for_list().filter(pk=container.pk))
        if fresh is None:  # it failed for good while we waited: the operation says why, and nothing was left behind
            return answer
        body = {**ContainerSerializer(fresh, context={"reader": request.user}).data, "operation": answer.data["operation"]}
        return Response(
            body, status=status.HTTP_201_CREATED, headers={"Location": f"/api/containers/{container.pk}", "X-Operation": str(operation.pk)}
        )


class ContainerDetail(APIView):
    """One container."""

    problem_statuses = (423, 503)

    @extend_schema(responses={200: ContainerSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        return Response(ContainerSerializer(access.get_container(request.user, container_id), context={"reader": request.user}).data)

    @extend_schema(request=ContainerChangeSerializer, responses={200: ChangedContainerSerializer})
    def patch(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        changes, wishes = spread(checked(ContainerChangeSerializer, request.data))
        done = edit.change(container, user=request.user, actor=actor_of(request), changes=changes, wishes=wishes)
        fresh = access.get_container(request.user, container_id)
        return Response(
            {**ContainerSerializer(fresh, context={"reader": request.user}).data, "needs_restart": done.needs_restart, "effects": done.effects}
        )

    @extend_schema(request=ContainerChangeSerializer, responses={200: ChangedContainerSerializer})
    def put(self, request: Request, container_id: str) -> Response:
        return self.patch(request, container_id)

    @extend_schema(responses=OPERATION, parameters=[WAIT, OpenApiParameter("force", bool, description="Skip the trash: data and logs go at once.")])
    def delete(self, request: Request, container_id: str) -> Response:
        wait_seconds(request)
        force = request.query_params.get("force", "").lower() in ("true", "1")
        try:
            container = access.get_container(request.user, container_id, "containers.delete")
        except NotFound:
            container = access.get_container(request.user, container_id, "containers.delete", trash=True)
            force = True
        operation = services.delete_container(container, user=request.user, actor=actor_of(request), force=force)
        return operation_response(request, operation)


class ContainerRestore(APIView):
    """Out of the trash."""

    @extend_schema(request=None, responses={200: ContainerSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.delete", trash=True)
        return Response(ContainerSerializer(services.restore_container(container, actor=actor_of(request)), context={"reader": request.user}).data)


class ContainerPower(APIView):
    """start, stop, restart, kill, pause, unpause."""

    problem_statuses = (423, 503)

    @extend_schema(
        request=PowerSerializer,
        responses=OPERATION,
        parameters=[WAIT, OpenApiParameter("action", str, OpenApiParameter.PATH, enum=list(ACTIONS))],
    )
    def post(self, request: Request, container_id: str, action: str) -> Response:
        container = access.get_container(request.user, container_id, CAPABILITY[action])
        wait_seconds(request)
        body = checked(PowerSerializer, request.data or {})
        operation = services.act(container, action, user=request.user, actor=actor_of(request), timeout_seconds=body.get("timeout_seconds"))
        return operation_response(request, operation)


class ContainerClearState(APIView):
    """Let go of a state that does not end by itself: what runs is cancelled, crashes are forgotten, its node's last word counts."""

    problem_statuses = (409,)

    @extend_schema(request=None, responses={200: ContainerSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.stop")
        clear_state(container, actor=actor_of(request))
        return Response(ContainerSerializer(access.get_container(request.user, container_id), context={"reader": request.user}).data)


def log_page(page: dict[str, Any], *, level: str = "") -> dict[str, Any]:
    """The node's answer as the API gives it; `level`: only lines as bad or worse."""
    lines = [
        {"seq": seq, "time": time, "stream": stream, "level": loglevels.detect(text), "text": text}
        for seq, time, stream, text in page.get("lines", [])
        if not level or loglevels.at_least(text, level)
    ]
    numbers = {name: page.get(name, 0) for name in ("first_seq", "last_seq")}
    return {"lines": lines, **numbers, "more": page.get("more", False), "gaps": page.get("gaps", [])}


def log_query(asked: dict[str, Any]) -> LogsQuery:
    """A checked query of `LogsQuerySerializer` as the node takes it."""
    return LogsQuery(
        streams=[asked["stream"]] if asked.get("stream") else [],
        tail=asked.get("tail", 0) if set(asked) & {"after", "before", "since", "until"} else asked.get("tail", 200),
        after=asked.get("after", -1),
        before=asked.get("before", -1),
        since=clock.rfc3339(asked.get("since")) or "",
        until=clock.rfc3339(asked.get("until")) or "",
        search=asked.get("search", ""),
        limit=asked.get("limit", min(max(asked.get("tail", 1000), 1), 1000)),
    )


def log_file(container: Any, request: Request) -> StreamingHttpResponse:
    """The whole log as a file; `?stream=`, `?compress=gzip`."""
    stream, compress = request.query_params.get("stream"), request.query_params.get("compress", "")
    if stream and stream not in ("application", "error", "startup", "events"):
        raise ValidationError({"stream": ["application, error, startup or events."]})
    if compress not in ("", "gzip"):
        raise ValidationError({"compress": ["gzip, or nothing."]})
    pages = logs.download(container, streams=[stream] if stream else [])
    first = next(pages)  # a node that is away answers 503 here, not half a file

    def body() -> Any:
        yield first
        yield from pages

    name, kind = (f"{container.pk}.log.gz", "application/gzip") if compress else (f"{container.pk}.log", "text/plain; charset=utf-8")
    response = StreamingHttpResponse(logs.gzipped(body()) if compress else body(), content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


class ContainerLogs(APIView):
    """Read, add to, and clear the log."""

    problem_statuses = ASKS_NODE

    @extend_schema(parameters=[LogsQuerySerializer], responses={200: LogsSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.logs")
        asked = checked(LogsQuerySerializer, request.query_params.dict())
        return Response(log_page(logs.read(container, log_query(asked)), level=asked.get("level", "")))

    @extend_schema(request=LogEntrySerializer, responses={201: LogEntryAnswerSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.console")
        body = checked(LogEntrySerializer, request.data)
        return Response(logs.append(container, text=body["message"], level=body["level"], actor=actor_of(request)), status=status.HTTP_201_CREATED)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        logs.clear(container, actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ContainerLogsDownload(APIView):
    """The whole log as text."""

    problem_statuses = ASKS_NODE

    @extend_schema(
        responses={(200, "text/plain"): str, (200, "application/gzip"): OpenApiTypes.BINARY},
        parameters=[OpenApiParameter("stream", str), OpenApiParameter("compress", str, enum=["gzip"])],
    )
    def get(self, request: Request, container_id: str) -> StreamingHttpResponse:
        container = access.get_container(request.user, container_id, "containers.logs")
        return log_file(container, request)


class ContainerLogsStream(APIView):
    """How to follow the log live."""

    @extend_schema(responses={200: LogsFollowSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.logs")
        scheme = "wss" if request.is_secure() else "ws"
        return Response(
            {
                "url": f"{scheme}://{request.get_host()}/ws",
                "message": {"type": "subscribe_logs", "container_id": str(container.pk), "after": container.last_log_seq},
            }
        )


class ContainerStats(APIView):
    """The last sample."""

    @extend_schema(responses={200: StatsSampleSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        return Response(access.get_container(request.user, container_id).stats)


class ContainerStatsHistory(APIView):
    """`?range=1h|24h|7d`."""

    @extend_schema(parameters=[OpenApiParameter("range", str, enum=list(stats.RANGES))], responses={200: StatsHistorySerializer})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id)
        span = request.query_params.get("range", "1h")
        if span not in stats.RANGES:
            raise ValidationError({"range": [f"One of {', '.join(stats.RANGES)}."]})
        return Response({"range": span, "points": stats.history(container.pk, span)})


class ContainerCommand(APIView):
    """A line for the main process's console."""

    problem_statuses = ASKS_NODE

    @extend_schema(request=CommandLineSerializer, responses={204: None})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.console")
        body = checked(CommandLineSerializer, request.data)
        logs.write_stdin(container, text=body["command"], actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class NodeContainers(ContainerListing):
    """Containers of one node."""

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Container.objects.none()
        return super().get_queryset().filter(node=get_node(self.request.user, self.kwargs["node_id"]))


class NodeMetrics(APIView):
    """`?range=1h|24h|7d`, of the machine itself."""

    @extend_schema(tags=["nodes"], parameters=[OpenApiParameter("range", str, enum=list(stats.RANGES))], responses={200: StatsHistorySerializer})
    def get(self, request: Request, node_id: UUID) -> Response:
        """Load over time."""
        node = get_node(request.user, node_id)
        span = request.query_params.get("range", "1h")
        if span not in stats.RANGES:
            raise ValidationError({"range": [f"One of {', '.join(stats.RANGES)}."]})
        return Response({"range": span, "points": stats.history(node.pk, span)})
