"""A container as the API shows it, each value to those it is for."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from containers.models import Container, Port
from containers.states import allowed_actions
from containers.variables import as_told, edits, shown_variables, stands_as_editor
from lormas.common.api.serializers import ModelSerializer
from nodes.api.operations import OperationSerializer


class PortSerializer(ModelSerializer[Port]):
    """A published port."""

    class Meta:
        model = Port
        fields = ["container_port", "host_port", "protocol", "is_primary"]


class ContainerSerializer(ModelSerializer[Container]):
    """A container as lists and details show it."""

    session_id = serializers.UUIDField(source="id", read_only=True)
    owner = serializers.SerializerMethodField()
    node = serializers.SerializerMethodField()
    egg = serializers.SerializerMethodField()
    egg_version = serializers.SerializerMethodField()
    command = serializers.SerializerMethodField()
    env = serializers.SerializerMethodField(
        help_text="With `***` for what looks like a secret, unless you may change it; in lists also where that was granted."
    )
    variables = serializers.SerializerMethodField()
    limits = serializers.SerializerMethodField()
    ports = PortSerializer(many=True, read_only=True)
    address = serializers.CharField(read_only=True)
    operation = serializers.SerializerMethodField()
    allowed_actions = serializers.SerializerMethodField()
    session = serializers.BooleanField(source="is_session", read_only=True)

    class Meta:
        model = Container
        fields = [
            "id", "session_id", "name", "description", "owner", "node", "egg", "egg_version", "image", "startup", "command", "env", "variables",
            "labels", "limits",
            "ports", "address", "restart_policy", "session", "desired", "observed", "observed_at", "status", "status_reason", "status_since",
            "readiness", "install_state", "prompts", "health", "health_text", "exit_code", "oom_killed", "started_at", "finished_at", "restarts",
            "last_log_seq", "stats", "operation", "allowed_actions",
            "created_at", "updated_at", "deleted_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_owner(self, container: Container) -> dict[str, str]:
        return {"id": str(container.owner_id), "name": container.owner.label}

    def get_node(self, container: Container) -> dict[str, str] | None:
        return {"id": str(container.node_id), "name": container.node.name, "status": container.node.status} if container.node else None

    def get_egg(self, container: Container) -> dict[str, str] | None:
        return {"id": str(container.egg_id), "name": container.egg.name} if container.egg else None

    def get_egg_version(self, container: Container) -> int | None:
        return container.egg_version.number if container.egg_version else None

    def _told(self, container: Container, **wish: Any) -> Any:
        """The one value, for who reads: `reader` of one container, or whoever asked for the list (no query for each row)."""
        reader, request = self.context.get("reader"), self.context.get("request")
        asks = request is not None and stands_as_editor(request.user, container)
        return next(iter(as_told(wish, to_editor=asks or (reader is not None and edits(reader, container))).values()))

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_command(self, container: Container) -> list[str]:
        return self._told(container, command=container.command)  # type: ignore[no-any-return]

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
    def get_env(self, container: Container) -> dict[str, str]:
        return self._told(container, env=container.env)  # type: ignore[no-any-return]

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
    def get_variables(self, container: Container) -> dict[str, str]:
        """Without those that its egg hides, unless the reader manages eggs (I01)."""
        request = self.context.get("request")
        return self._told(container, variables=shown_variables(container, request.user if request is not None else None))  # type: ignore[no-any-return]

    def get_limits(self, container: Container) -> dict[str, float]:
        return {name: getattr(container, name) for name in ("cpus", "memory_bytes", "swap_bytes", "disk_bytes", "io_weight", "pids")}

    def get_operation(self, container: Container) -> str | None:
        running = container.running_operation
        return str(running.pk) if running else None

    def get_allowed_actions(self, container: Container) -> list[str]:
        return sorted(allowed_actions(container.status, desired=container.desired, installs=bool(container.install_state)))


class CreatedContainerSerializer(ContainerSerializer):
    """Answer of `POST /api/containers`: with the operation that makes it."""

    operation = OperationSerializer(read_only=True)  # type: ignore[assignment]  # a serializer where the list has the id


class ChangedContainerSerializer(ContainerSerializer):
    """Answer of `PATCH /api/containers/{id}`."""

    needs_restart = serializers.BooleanField(read_only=True, help_text="What runs is still as it was: a restart brings the change.")
    effects = serializers.DictField(
        child=serializers.ChoiceField(choices=["now", "in_place", "next_start", "recreate"]),
        read_only=True,
        help_text="Field -> when it counts. `recreate`: the next start makes the container anew; its data folder stays.",
    )

    class Meta(ContainerSerializer.Meta):
        fields = [*ContainerSerializer.Meta.fields, "needs_restart", "effects"]
        read_only_fields = fields
