"""Doors of a container's settings: what it is made of and how it is kept, its startup script."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import access
from containers.api.serializers import ContainerChangeSerializer, ExecResultSerializer, SomeLimitsSerializer
from containers.api.shown import PortSerializer
from containers.api.views import ASKS_NODE, actor_of, checked, spread
from containers.models import Container, ContainerTunnel
from containers.services import edit, idle, scripts, tunnels
from containers.services.limits import LIMITS
from containers.services.manners import settings_of
from containers.variables import as_told, edits, shown_variables
from lormas.common.api.serializers import StrictSerializer, TimeField
from nodes.api.operations import OperationSerializer

MAX_SCRIPT = 64 * 1024
WHEN = ["now", "in_place", "next_start", "recreate"]


class ReadinessSerializer(StrictSerializer):
    """When it counts as started: one of these texts in a line of its console. Empty: as its egg or its health check says."""

    done = serializers.ListField(child=serializers.CharField(max_length=512), max_length=16, required=False)
    timeout_seconds = serializers.IntegerField(min_value=5, max_value=3600, default=900)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return attrs if attrs.get("done") else {}


class SettingsChangeSerializer(ContainerChangeSerializer):
    """Body of `PUT` and `PATCH …/settings`: what is named changes, the rest stays."""

    startup_script = serializers.CharField(max_length=MAX_SCRIPT, required=False, allow_blank=True, trim_whitespace=False)
    readiness = ReadinessSerializer(required=False)
    auto_start = serializers.BooleanField(required=False, help_text="Start it again when its node or engine comes back.")
    auto_heal = serializers.BooleanField(required=False, help_text="Restart it when its health check fails: 5 times in 30 minutes at most.")
    idle_timeout_seconds = serializers.IntegerField(
        min_value=0,
        max_value=31_536_000,
        required=False,
        help_text="Stop it when nobody has used it for so long, after a warning; 0: never. From 60.",
    )
    tunnel_token = serializers.CharField(
        max_length=8192,
        required=False,
        allow_blank=True,
        write_only=True,
        help_text="For the next start of its tunnel; empty: forget it.",
    )
    apply = serializers.ChoiceField(
        choices=["later", "now"], default="later", help_text="now: restart it at once where that is needed; later: at its next start."
    )

    def validate_idle_timeout_seconds(self, value: int) -> int:
        if 0 < value < 60:
            raise serializers.ValidationError("60 seconds at least, or 0 for never.", code="min_value")
        return value


class SettingsSerializer(StrictSerializer):
    """All settings. The readiness of its egg is not told here."""

    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    image = serializers.CharField()
    command = serializers.ListField(child=serializers.CharField(allow_blank=True))
    env = serializers.DictField(child=serializers.CharField(allow_blank=True))
    variables = serializers.DictField(child=serializers.CharField(allow_blank=True))
    startup = serializers.CharField(allow_blank=True)
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True))
    limits = SomeLimitsSerializer()
    ports = PortSerializer(many=True)
    restart_policy = serializers.CharField()
    startup_script = serializers.CharField(allow_blank=True)
    readiness = ReadinessSerializer()
    auto_start = serializers.BooleanField()
    auto_heal = serializers.BooleanField()
    idle_timeout_seconds = serializers.IntegerField(help_text="0: it is never stopped for want of use.")
    has_tunnel_token = serializers.BooleanField()
    revision = serializers.IntegerField(help_text="Number of the newest revision; 1 as long as nothing was changed.")
    pending = serializers.BooleanField(help_text="Something was changed that its next start brings.")


class EffectsSerializer(StrictSerializer):
    """What a change does: field -> when it counts."""

    effects = serializers.DictField(child=serializers.ChoiceField(choices=WHEN))
    needs_restart = serializers.BooleanField()


class ChangedSettingsSerializer(SettingsSerializer):
    """Answer to a change."""

    effects = serializers.DictField(child=serializers.ChoiceField(choices=WHEN))
    needs_restart = serializers.BooleanField()
    operation = OperationSerializer(allow_null=True, help_text="The change in place, or the restart that brings it.")


class StartupScriptSerializer(StrictSerializer):
    """`POST …/settings/startup-script`."""

    script = serializers.CharField(max_length=MAX_SCRIPT, allow_blank=True, trim_whitespace=False)


class ExecuteScriptSerializer(StrictSerializer):
    """`POST …/settings/execute-script`: without `script` the stored one."""

    script = serializers.CharField(max_length=MAX_SCRIPT, required=False, allow_blank=True, trim_whitespace=False)
    timeout_seconds = serializers.IntegerField(min_value=1, max_value=300, default=60)


def as_settings(container: Container, user: Any) -> dict[str, Any]:
    """The body of `GET …/settings`."""
    own = settings_of(container)
    newest = container.revisions.first()
    body = {
        **{name: getattr(container, name) for name in ("name", "description", "image", "command", "env", "startup", "labels", "restart_policy")},
        "variables": shown_variables(container, user),
        "limits": {name: getattr(container, name) for name in LIMITS},
        "ports": PortSerializer(container.ports.all(), many=True).data,
        **{name: getattr(own, name) for name in edit.OWN},
        "has_tunnel_token": ContainerTunnel.objects.filter(pk=container.pk).exclude(sealed_token="").exists(),
        "revision": newest.number if newest is not None else 1,
        "pending": container.spec_changed,
    }
    return as_told(body, to_editor=edits(user, container))


class ContainerSettingsView(APIView):
    """Everything that can be set about a container."""

    problem_statuses = (423, 503)

    @extend_schema(responses={200: SettingsSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        return Response(as_settings(access.get_container(request.user, container_id), request.user))

    @extend_schema(request=SettingsChangeSerializer, responses={200: ChangedSettingsSerializer})
    def put(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        body = checked(SettingsChangeSerializer, request.data)
        now = body.pop("apply") == "now"
        if now:
            container = access.get_container(request.user, container_id, "containers.stop")
        token = body.pop("tunnel_token", None)
        changes, wishes = spread(body)
        with transaction.atomic():
            if token is not None:
                tunnels.keep_token(container, token, actor=actor_of(request))
            done = edit.change(container, user=request.user, actor=actor_of(request), changes=changes, wishes=wishes)
        operation = done.operation
        if now and done.needs_restart:
            operation = edit.restart_for(done.container, user=request.user, actor=actor_of(request))
        told = {
            "effects": done.effects,
            "needs_restart": done.needs_restart and operation is None,
            "operation": OperationSerializer(operation).data if operation else None,
        }
        return Response({**as_settings(access.get_container(request.user, container_id), request.user), **told})

    @extend_schema(request=SettingsChangeSerializer, responses={200: ChangedSettingsSerializer})
    def patch(self, request: Request, container_id: str) -> Response:
        return self.put(request, container_id)


class SettingsPreview(APIView):
    """What a change would do: what counts at once, what restarts. Nothing is kept."""

    problem_statuses = (423,)

    @extend_schema(request=SettingsChangeSerializer, responses={200: EffectsSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        body = checked(SettingsChangeSerializer, request.data)
        body.pop("apply")
        body.pop("tunnel_token", None)
        changes, wishes = spread(body)
        tried = edit.preview(container, user=request.user, actor=actor_of(request), changes=changes, wishes=wishes)
        return Response({"effects": tried.effects, "needs_restart": tried.needs_restart})


class StartupScript(APIView):
    """The script that its shell runs after each start."""

    @extend_schema(request=StartupScriptSerializer, responses={200: SettingsSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        script = checked(StartupScriptSerializer, request.data)["script"]
        edit.change(container, user=request.user, actor=actor_of(request), changes={"startup_script": script})
        return Response(as_settings(access.get_container(request.user, container_id), request.user))


class ExecuteScript(APIView):
    """Run it now, to its end."""

    problem_statuses = ASKS_NODE

    @extend_schema(request=ExecuteScriptSerializer, responses={200: ExecResultSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.exec")
        body = checked(ExecuteScriptSerializer, request.data or {})
        done = scripts.run_now(container, script=body.get("script"), timeout_seconds=body["timeout_seconds"], actor=actor_of(request))
        return Response(done)


class IdleSerializer(StrictSerializer):
    """Its idle timeout: when it was used last, and when it stops unless somebody uses it (null: nothing stops it)."""

    timeout_seconds = serializers.IntegerField()
    used_at = TimeField(allow_null=True)
    used_by = serializers.CharField(
        allow_blank=True,
        help_text="start, terminal, console, command, files, network, power, backup, operation, schedule, settings, wish or unknown.",
    )
    stops_at = TimeField(allow_null=True)
    is_warned = serializers.BooleanField(help_text="People have been told that it stops soon.")
    stopped_at = TimeField(allow_null=True, help_text="It was stopped for want of use, and has not run since.")


class ContainerIdle(APIView):
    """When it stops for want of use; `POST` lets it go on for its whole timeout."""

    @extend_schema(responses={200: IdleSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id)
        return Response(IdleSerializer(idle.standing(container)).data)

    @extend_schema(request=None, responses={200: IdleSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.start")
        return Response(IdleSerializer(idle.keep_running(container, actor=actor_of(request))).data)
