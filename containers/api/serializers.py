"""Shapes of the containers API (SURFACE section 5)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.access import has
from agent.protocol.messages import LogStream
from containers import validation
from containers.api.fields import CommandField, EnvField, ExecField, PortField, checked
from containers.loglevels import LEVELS
from containers.services import NewContainer, PortWish
from containers.spec import Asked
from eggs.access import get_egg
from lormas.common.api.serializers import StrictSerializer
from lormas.common.errors import FieldError, Forbidden, NotFound
from nodes.access import get_cluster, get_node, visible_nodes
from nodes.api.placement import PlacementWishSerializer

STREAMS: tuple[LogStream, ...] = ("application", "error", "startup", "events")
MAX_BYTES = 2**50


class LimitsSerializer(StrictSerializer):
    """Limits; 0 or absent = the default."""

    cpus = serializers.FloatField(min_value=0, max_value=1024, default=0)
    memory_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, default=0)
    swap_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, default=0)
    disk_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, default=0)
    io_weight = serializers.IntegerField(min_value=0, max_value=1000, default=0)
    pids = serializers.IntegerField(min_value=0, max_value=65536, default=512)

    def validate_memory_bytes(self, value: int) -> int:
        if 0 < value < 6 * 1024**2:
            raise serializers.ValidationError("At least 6 MiB: engines refuse less.")
        return value

    def validate_io_weight(self, value: int) -> int:
        if 0 < value < 10:
            raise serializers.ValidationError("From 10 to 1000, or 0 for the default.")
        return value


class RegistrySerializer(StrictSerializer):
    """Credentials for a private registry; the password is kept encrypted and never returned."""

    server = serializers.CharField(max_length=255, required=False, default="")
    username = serializers.CharField(max_length=255)
    password = serializers.CharField(max_length=4096, write_only=True)


class MountSerializer(StrictSerializer):
    """`data`: the container's own folder. `tmpfs`: memory. `bind`: a path of the node (needs `containers.host_access`)."""

    kind = serializers.ChoiceField(choices=["data", "tmpfs", "bind"], default="data")
    target = serializers.RegexField(r"^/(?!\.\.?(/|$))(?:[^/\x00]+/?)*$", max_length=1024)
    source = serializers.CharField(max_length=1024, required=False, default="", allow_blank=True)  # type: ignore[assignment]
    read_only = serializers.BooleanField(default=False)  # type: ignore[assignment]
    size_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, default=0)


class NewContainerSerializer(StrictSerializer):
    """`POST /api/containers`: from an egg, or from an image."""

    name = serializers.CharField(max_length=64)
    description = serializers.CharField(max_length=255, required=False, allow_blank=True, default="")
    egg = serializers.UUIDField(required=False, allow_null=True)
    image = serializers.CharField(max_length=255, required=False, allow_blank=True, default="")
    command = CommandField(required=False)
    env = EnvField(required=False)
    variables = serializers.DictField(child=serializers.CharField(allow_blank=True, max_length=32_768, trim_whitespace=False), required=False)
    startup = serializers.CharField(
        max_length=191, required=False, allow_blank=True, default="", help_text="Name of one of the egg's startup commands; empty: its first."
    )
    limits = LimitsSerializer(required=False)
    ports = serializers.ListField(child=PortField(), required=False, max_length=32)
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True, max_length=1024), required=False)
    mounts = MountSerializer(many=True, required=False)
    node = serializers.UUIDField(required=False, allow_null=True)
    cluster = serializers.UUIDField(required=False, allow_null=True)
    start = serializers.BooleanField(default=True)
    restart_policy = serializers.ChoiceField(choices=["no", "on-failure", "unless-stopped", "always"], default="unless-stopped")
    placement = PlacementWishSerializer(required=False)
    session = serializers.BooleanField(default=False)
    registry = RegistrySerializer(required=False)

    def validate_name(self, value: str) -> str:
        return checked(validation.check_name, value)  # type: ignore[no-any-return]

    def validate_image(self, value: str) -> str:
        return checked(validation.check_image, value) if value else ""

    def validate_labels(self, value: dict[str, str]) -> dict[str, str]:
        return checked(validation.check_labels, value)  # type: ignore[no-any-return]

    def validate_ports(self, value: list[PortWish]) -> list[PortWish]:
        fixed = [(w.protocol, w.host) for w in value if w.host]
        if len(set(fixed)) != len(fixed):
            raise serializers.ValidationError("The same host port is named twice.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("egg") and not attrs.get("image"):
            raise serializers.ValidationError({"image": ["Name an egg or an image."]})
        if attrs.get("egg") and attrs.get("command"):
            raise serializers.ValidationError({"command": ["An egg brings its own command; set its variables instead."]})
        if attrs.get("startup") and not attrs.get("egg"):
            raise serializers.ValidationError({"startup": ["Only eggs have startup commands to choose from."]})
        if attrs.get("node") and attrs.get("cluster"):
            raise serializers.ValidationError({"cluster": ["Name a node or a cluster, not both."]})
        return attrs


def resolve_new(user: Any, data: dict[str, Any]) -> NewContainer:
    """From a checked body to what the service takes: every foreign id goes through its door (D15).

    Raises:
        NotFound, Forbidden.
    """
    mounts = [dict(m) for m in data.get("mounts", [])]
    if any(m["kind"] == "bind" for m in mounts) and not has(user, "containers.host_access"):
        raise Forbidden(
            "Mounts of the node's own folders need the right to use the host.",
            code="policy_denied",
            errors=[FieldError("mounts", "Use a data or tmpfs mount.", "policy_denied")],
        )
    node = cluster = None
    if data.get("node"):
        if not has(user, "containers.choose_node") and not visible_nodes(user).filter(pk=data["node"]).exists():
            raise NotFound(f"There is no node {data['node']}, or it is not yours to see.", errors=[FieldError("node", "Unknown node.", "not_found")])
        node = get_node(user, data["node"], "containers.choose_node")
    if data.get("cluster"):
        cluster = get_cluster(user, data["cluster"], "containers.choose_node")
    return NewContainer(
        name=data["name"],
        description=data.get("description", ""),
        egg=get_egg(user, data["egg"], "eggs.view") if data.get("egg") else None,
        image=data.get("image", ""),
        command=data.get("command", []),
        env=data.get("env", {}),
        variables=data.get("variables", {}),
        startup=data.get("startup", ""),
        labels=data.get("labels", {}),
        mounts=mounts,
        asked=Asked(**data.get("limits", {})),
        ports=data.get("ports", []),
        node=node,
        cluster=cluster,
        start=data["start"],
        restart_policy=data["restart_policy"],
        is_session=data["session"],
        placement=dict(data.get("placement", {})),
        registry=dict(data.get("registry", {})),
    )


class SomeLimitsSerializer(StrictSerializer):
    """Limits to change; 0 = the default."""

    cpus = serializers.FloatField(min_value=0, max_value=1024, required=False)
    memory_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, required=False)
    swap_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, required=False)
    disk_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, required=False)
    io_weight = serializers.IntegerField(min_value=0, max_value=1000, required=False)
    pids = serializers.IntegerField(min_value=0, max_value=65536, required=False)

    validate_memory_bytes = LimitsSerializer.validate_memory_bytes
    validate_io_weight = LimitsSerializer.validate_io_weight


class ContainerChangeSerializer(StrictSerializer):
    """`PATCH /api/containers/{id}`."""

    name = serializers.CharField(max_length=64, required=False)
    description = serializers.CharField(max_length=255, required=False, allow_blank=True)
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True, max_length=1024), required=False)
    env = EnvField(required=False)
    variables = serializers.DictField(child=serializers.CharField(allow_blank=True, max_length=32_768, trim_whitespace=False), required=False)
    startup = serializers.CharField(max_length=191, required=False, allow_blank=True, help_text="Name of one of the egg's startup commands.")
    image = serializers.CharField(max_length=255, required=False, help_text="Counts from the next start.")
    restart_policy = serializers.ChoiceField(choices=["no", "on-failure", "unless-stopped", "always"], required=False)
    command = CommandField(required=False)
    limits = SomeLimitsSerializer(required=False, help_text="Those named change; the others stay.")
    ports = serializers.ListField(
        child=PortField(),
        required=False,
        max_length=32,
        help_text="All of them, the first one primary; one that is there already keeps its number.",
    )

    def validate_name(self, value: str) -> str:
        return checked(validation.check_name, value)  # type: ignore[no-any-return]

    def validate_image(self, value: str) -> str:
        return checked(validation.check_image, value)  # type: ignore[no-any-return]

    def validate_labels(self, value: dict[str, str]) -> dict[str, str]:
        return checked(validation.check_labels, value)  # type: ignore[no-any-return]


class PowerSerializer(StrictSerializer):
    """Body of a power action."""

    timeout_seconds = serializers.FloatField(min_value=0, max_value=3600, required=False)


class LogEntryAnswerSerializer(StrictSerializer):
    """Answer of `POST …/logs`."""

    seq = serializers.IntegerField()


class LogsFollowSerializer(StrictSerializer):
    """Answer of `GET …/logs/stream`: what to open, and what to say there."""

    url = serializers.CharField()
    message = serializers.DictField()


class LogEntrySerializer(StrictSerializer):
    """`POST …/logs`."""

    level = serializers.ChoiceField(choices=["debug", "info", "warn", "error"], default="info")
    message = serializers.CharField(max_length=8192)


class LogsQuerySerializer(StrictSerializer):
    """Query of `GET …/logs`."""

    stream = serializers.ChoiceField(choices=STREAMS, required=False)
    tail = serializers.IntegerField(min_value=0, max_value=10_000, required=False)
    after = serializers.IntegerField(min_value=0, max_value=2**62, required=False)
    before = serializers.IntegerField(min_value=0, max_value=2**62, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    search = serializers.CharField(max_length=256, required=False)
    level = serializers.ChoiceField(choices=LEVELS, required=False, help_text="Of the lines found, only those as bad or worse.")
    limit = serializers.IntegerField(min_value=1, max_value=1000, required=False)


class LogLineSerializer(StrictSerializer):
    """One line."""

    seq = serializers.IntegerField()
    time = serializers.CharField()
    stream = serializers.ChoiceField(choices=STREAMS)
    level = serializers.ChoiceField(choices=["", *LEVELS], help_text="As its text says; empty: it does not say.")
    text = serializers.CharField()


class LogsSerializer(StrictSerializer):
    """Answer of `GET …/logs`: `first_seq`/`last_seq` are those of the whole store."""

    lines = LogLineSerializer(many=True)
    first_seq = serializers.IntegerField()
    last_seq = serializers.IntegerField()
    more = serializers.BooleanField()
    gaps = serializers.ListField()


class ExecSerializer(StrictSerializer):
    """`POST …/exec`."""

    command = ExecField()
    working_dir = serializers.CharField(max_length=4096, required=False, default="", allow_blank=True)
    env = EnvField(required=False)
    timeout_seconds = serializers.IntegerField(min_value=1, max_value=300, default=30)
    stdin = serializers.CharField(max_length=65_536, required=False, default="", allow_blank=True, trim_whitespace=False)

    def validate_command(self, value: list[str]) -> list[str]:
        if not value:
            raise serializers.ValidationError("Name a command.")
        return value


class ExecResultSerializer(StrictSerializer):
    """Answer of `POST …/exec`."""

    exit_code = serializers.IntegerField(allow_null=True)
    stdout = serializers.CharField(allow_blank=True)
    stderr = serializers.CharField(allow_blank=True)
    duration_seconds = serializers.FloatField()
    truncated = serializers.BooleanField()
    timed_out = serializers.BooleanField()


class CommandLineSerializer(StrictSerializer):
    """`POST …/command`: a line for the main process."""

    command = serializers.CharField(max_length=8192, trim_whitespace=False)


class StatsSampleSerializer(StrictSerializer):
    """The last sample; empty before the first."""

    time = serializers.DateTimeField(required=False)
    cpu_percent = serializers.FloatField(required=False)
    memory_bytes = serializers.IntegerField(required=False)
    memory_limit_bytes = serializers.IntegerField(required=False)
    network_rx_bytes = serializers.IntegerField(required=False)
    network_tx_bytes = serializers.IntegerField(required=False)
    block_read_bytes = serializers.IntegerField(required=False)
    block_write_bytes = serializers.IntegerField(required=False)
    pids = serializers.IntegerField(required=False)
    disk_bytes = serializers.IntegerField(required=False, allow_null=True, help_text="null: not known (yet).")


class StatsPointSerializer(StrictSerializer):
    """A sample of the last hour, or a minute of the last days with its averages and maxima."""

    time = serializers.DateTimeField()
    cpu_percent = serializers.FloatField()
    cpu_percent_max = serializers.FloatField(required=False)
    memory_bytes = serializers.IntegerField()
    memory_bytes_max = serializers.IntegerField(required=False)
    memory_limit_bytes = serializers.IntegerField(required=False)
    network_rx_bytes = serializers.IntegerField()
    network_tx_bytes = serializers.IntegerField()
    block_read_bytes = serializers.IntegerField()
    block_write_bytes = serializers.IntegerField()
    pids = serializers.IntegerField(required=False)
    disk_bytes = serializers.IntegerField(required=False, allow_null=True, help_text="null: not known (yet).")


class StatsHistorySerializer(StrictSerializer):
    """Answer of `GET …/stats/history`, oldest first."""

    range = serializers.CharField()
    points = StatsPointSerializer(many=True)
