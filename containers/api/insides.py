"""Doors to what runs inside a container: exec and its history, processes, terminals, recordings and who is recorded."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.models import Role
from agent.protocol.commands import ExecRun
from containers import access, logs, transfers
from containers.api.fileparts import file_response
from containers.api.serializers import ExecResultSerializer, ExecSerializer
from containers.api.views import ASKS_NODE, actor_of, checked
from containers.models import ExecRecord, RecordingPolicy
from containers.services import execs
from eggs.models import Egg
from lormas.common.api.serializers import StrictSerializer, TimeField
from lormas.common.errors import NotFound, Problem


class ContainerExec(APIView):
    """One command inside the container, to its end."""

    problem_statuses = ASKS_NODE

    @extend_schema(request=ExecSerializer, responses={200: ExecResultSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.exec")
        body = checked(ExecSerializer, request.data)
        typed = request.data.get("command") if isinstance(request.data, dict) else None
        made = execs.begin_exec(
            container,
            user=request.user,
            actor=actor_of(request),
            command=typed if isinstance(typed, str) else " ".join(body["command"]),
            working_dir=body["working_dir"],
        )
        try:
            done = logs.ask(
                container,
                "exec.run",
                ExecRun(
                    argv=body["command"],
                    env=body.get("env", {}),
                    working_dir=body["working_dir"],
                    stdin=body["stdin"],
                    timeout_seconds=body["timeout_seconds"],
                ),
                timeout_seconds=body["timeout_seconds"] + 5,
            )
        except Problem as problem:
            execs.end_exec(made, exit_code=None, error=problem.code)
            raise
        execs.end_exec(made, exit_code=done.get("exit_code"), error="timeout" if done.get("timed_out") else "")
        return Response(done)


class ExecRecordSerializer(StrictSerializer):
    """One entry of the history."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=["command", "terminal"])
    command = serializers.CharField()
    working_dir = serializers.CharField(allow_blank=True)
    user = serializers.SerializerMethodField()
    started_at = TimeField()
    finished_at = TimeField(allow_null=True)
    exit_code = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(allow_blank=True)

    def get_user(self, row: ExecRecord) -> str:
        return row.user.label if row.user is not None else ""


class ContainerExecHistory(ListAPIView):  # type: ignore[type-arg]
    """What you ran in this container, newest first; `?everybody=true` with containers.edit shows all."""

    serializer_class = ExecRecordSerializer
    filter_backends: list[Any] = []  # type: ignore[assignment]

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return ExecRecord.objects.none()
        wants_all = self.request.query_params.get("everybody") == "true"
        container = access.get_container(self.request.user, self.kwargs["container_id"], "containers.edit" if wants_all else "containers.exec")
        rows = ExecRecord.objects.filter(container=container).select_related("user")
        kind = self.request.query_params.get("kind")
        if kind:
            if kind not in ExecRecord.Kind.values:
                raise ValidationError({"kind": ["command or terminal."]})
            rows = rows.filter(kind=kind)
        return rows if wants_all else rows.filter(user_id=str(self.request.user.pk))

    @extend_schema(parameters=[OpenApiParameter("everybody", bool), OpenApiParameter("kind", str, enum=["command", "terminal"])])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class ProcessSerializer(StrictSerializer):
    """One process."""

    pid = serializers.IntegerField()
    parent = serializers.IntegerField()  # type: ignore[assignment]
    user = serializers.CharField(allow_blank=True)
    state = serializers.CharField(allow_blank=True, help_text="The kernel's letter: R running, S sleeping, D waiting for a disk, T stopped, Z ended.")
    cpu_seconds = serializers.FloatField()
    memory_bytes = serializers.IntegerField()
    started_at_unix = serializers.FloatField()
    command = serializers.CharField(allow_blank=True)
    is_exec = serializers.BooleanField(help_text="Started by an exec or a terminal, not by the container itself.")


class ProcessListSerializer(StrictSerializer):
    processes = ProcessSerializer(many=True)


class SignalSerializer(StrictSerializer):
    """A signal for one process."""

    signal = serializers.CharField(default="SIGTERM", max_length=16, help_text=f"One of {', '.join(execs.SIGNALS)}; with or without SIG.")

    def validate_signal(self, value: str) -> str:
        name = value.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        if name not in execs.SIGNALS:
            raise serializers.ValidationError(f"One of {', '.join(execs.SIGNALS)}.")
        return name


class ContainerProcesses(APIView):
    """What runs inside, now."""

    problem_statuses = ASKS_NODE

    @extend_schema(responses={200: ProcessListSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.exec")
        return Response(logs.ask(container, "process.list"))


class ContainerProcessSignal(APIView):
    """A signal to one process of the container."""

    problem_statuses = ASKS_NODE

    @extend_schema(request=SignalSerializer, responses={204: None})
    def post(self, request: Request, container_id: str, pid: int) -> Response:
        container = access.get_container(request.user, container_id, "containers.exec")
        body = checked(SignalSerializer, request.data)
        execs.signal_process(container, pid=pid, signal=body["signal"], actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class TerminalSerializer(StrictSerializer):
    """A terminal that lives on the node."""

    name = serializers.CharField()
    columns = serializers.IntegerField()
    rows = serializers.IntegerField()
    viewers = serializers.IntegerField()
    recorded = serializers.BooleanField()
    opened_by = serializers.CharField(allow_blank=True)
    opened_at_unix = serializers.FloatField()
    idle_seconds = serializers.FloatField()


class TerminalListSerializer(StrictSerializer):
    terminals = TerminalSerializer(many=True)


class ContainerTerminals(APIView):
    """Terminals that are open; they are opened on the socket `/ws` by `terminal_open`."""

    problem_statuses = ASKS_NODE

    @extend_schema(responses={200: TerminalListSerializer}, operation_id="containers_terminals_list")
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.exec")
        return Response(logs.ask(container, "terminal.list"))


class ContainerTerminal(APIView):
    """One terminal."""

    problem_statuses = ASKS_NODE

    @extend_schema(responses={204: None})
    def delete(self, request: Request, container_id: str, name: str) -> Response:
        """End it for everybody."""
        container = access.get_container(request.user, container_id, "containers.exec")
        execs.kill_terminal(container, name=name, actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class RecordingSerializer(StrictSerializer):
    """What a terminal wrote."""

    id = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    opened_by = serializers.CharField(allow_blank=True)
    started_at_unix = serializers.FloatField()
    seconds = serializers.FloatField()
    bytes = serializers.IntegerField()


class RecordingListSerializer(StrictSerializer):
    recordings = RecordingSerializer(many=True)


class ContainerRecordings(APIView):
    """Recordings of terminals, newest first. They lie on the node, 30 days or the last 50."""

    problem_statuses = ASKS_NODE

    @extend_schema(responses={200: RecordingListSerializer}, operation_id="containers_recordings_list")
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.exec")
        return Response(logs.ask(container, "recording.list"))


class ContainerRecording(APIView):
    """One recording, as asciicast v2."""

    problem_statuses = ASKS_NODE

    @extend_schema(responses={(200, "application/x-asciicast"): bytes})
    def get(self, request: Request, container_id: str, recording_id: str) -> HttpResponseBase:
        container = access.get_container(request.user, container_id, "containers.exec")
        stream = transfers.open_read(container, "recording.read", id=recording_id)
        return file_response(request, stream, content_type="application/x-asciicast", attachment=True)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, container_id: str, recording_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        execs.delete_recording(container, recording_id=recording_id, actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PolicySerializer(StrictSerializer):
    """Whether terminals of people in a role, or of containers of an egg, are recorded. The egg's word counts before the role's."""

    id = serializers.UUIDField(read_only=True)
    role = serializers.SlugField(source="role.slug", required=False, allow_null=True, default=None)
    egg = serializers.UUIDField(source="egg_id", required=False, allow_null=True, default=None)
    record = serializers.BooleanField(default=True)


class RecordingPolicies(ListAPIView):  # type: ignore[type-arg]
    """Whose terminals are recorded; without a policy the setting TERMINAL_RECORDING counts."""

    serializer_class = PolicySerializer
    filter_backends: list[Any] = []  # type: ignore[assignment]
    queryset = RecordingPolicy.objects.select_related("role", "egg")

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        require(request.user, "settings.manage")
        return super().get(request, *args, **kwargs)

    @extend_schema(request=PolicySerializer, responses={201: PolicySerializer})
    def post(self, request: Request) -> Response:
        require(request.user, "settings.manage")
        body = checked(PolicySerializer, request.data)
        slug, egg_id = (body.get("role") or {}).get("slug"), body.get("egg_id")
        role = Role.objects.filter(slug=slug).first() if slug else None
        egg = Egg.objects.filter(pk=egg_id).first() if egg_id else None
        if (slug and role is None) or (egg_id and egg is None):
            raise ValidationError({"role" if slug else "egg": ["There is no such thing."]})
        made = execs.set_policy(actor=actor_of(request), role=role, egg=egg, record_terminals=body["record"])
        return Response(PolicySerializer(made).data, status=status.HTTP_201_CREATED)


class RecordingPolicyDetail(APIView):
    """One policy."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, policy_id: str) -> Response:
        require(request.user, "settings.manage")
        found = RecordingPolicy.objects.select_related("role", "egg").filter(pk=policy_id).first()
        if found is None:
            raise NotFound("There is no such recording policy.")
        execs.remove_policy(found, actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)
