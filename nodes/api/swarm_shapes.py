"""Shapes of a swarm behind a cluster."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from agent.protocol.swarm import AVAILABILITIES
from lormas.common.api.serializers import StrictSerializer, TimeField
from nodes.api.fleet_shapes import PullSerializer

MOST_REPLICAS = 1000


class SwarmNodeSerializer(StrictSerializer):
    """A machine of the swarm; `tasks` are those that are to run there."""

    id = serializers.CharField()
    hostname = serializers.CharField()
    role = serializers.CharField(help_text="manager | worker")
    is_leader = serializers.BooleanField()
    availability = serializers.CharField(help_text="active | pause | drain")
    state = serializers.CharField(help_text="ready | down | disconnected | unknown")
    address = serializers.CharField(allow_blank=True)
    message = serializers.CharField(allow_blank=True)
    engine_version = serializers.CharField(allow_blank=True)
    cpus = serializers.FloatField()
    memory_bytes = serializers.IntegerField()
    tasks = serializers.IntegerField()


class SwarmManagerSerializer(StrictSerializer):
    """The node that answered."""

    id = serializers.UUIDField()
    name = serializers.CharField()


class SwarmSerializer(StrictSerializer):
    """A swarm as one of its managers told it at `read_at`."""

    swarm_id = serializers.CharField()
    manager = SwarmManagerSerializer()
    read_at = TimeField()
    nodes = SwarmNodeSerializer(many=True)


class PortShape(StrictSerializer):
    """`host`: published on each node that runs a task (so at most one task a node). `ingress`: on every node, through the swarm's balancing."""

    container_port = serializers.IntegerField(min_value=1, max_value=65535)
    published_port = serializers.IntegerField(min_value=1, max_value=65535)
    protocol = serializers.ChoiceField(choices=("tcp", "udp"), default="tcp")
    mode = serializers.ChoiceField(choices=("host", "ingress"), default="host")


class SwarmPortSerializer(StrictSerializer):
    """As the swarm has it."""

    container_port = serializers.IntegerField()
    published_port = serializers.IntegerField()
    protocol = serializers.CharField()
    mode = serializers.CharField()


class SwarmServiceSerializer(StrictSerializer):
    """A service. `ours`: made here; others are shown and never changed. Of the environment only names are told."""

    id = serializers.CharField()
    name = serializers.CharField()
    image = serializers.CharField(allow_blank=True)
    mode = serializers.CharField(help_text="replicated | global | job")
    wanted = serializers.IntegerField()
    running = serializers.IntegerField()
    ours = serializers.BooleanField()
    update_state = serializers.CharField(allow_blank=True)
    update_message = serializers.CharField(allow_blank=True)
    ports = SwarmPortSerializer(many=True)
    command = serializers.ListField(child=serializers.CharField(allow_blank=True))
    env_names = serializers.ListField(child=serializers.CharField(allow_blank=True))
    cpus = serializers.FloatField()
    memory_bytes = serializers.IntegerField()
    created_at = serializers.CharField(allow_blank=True)
    updated_at = serializers.CharField(allow_blank=True)


class SwarmServicesSerializer(StrictSerializer):
    """All of them, ours first."""

    read_at = TimeField()
    items = SwarmServiceSerializer(many=True)


class SwarmTaskSerializer(StrictSerializer):
    """One attempt to run one replica."""

    id = serializers.CharField()
    slot = serializers.IntegerField()
    node_id = serializers.CharField(allow_blank=True)
    node = serializers.CharField(allow_blank=True)
    state = serializers.CharField()
    desired = serializers.CharField()
    image = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)
    exit_code = serializers.IntegerField(allow_null=True)
    since = serializers.CharField(allow_blank=True)


class SwarmTasksSerializer(StrictSerializer):
    """What is to run by slot, then what has ended, newest first."""

    items = SwarmTaskSerializer(many=True)


def _checked_env(value: dict[str, Any]) -> dict[str, Any]:
    if len(value) > 500:
        raise serializers.ValidationError("At most 500 variables.")
    for name, text in value.items():
        if not name or "=" in name or "\x00" in name or "\x00" in (text or "") or len(name) > 255:
            raise serializers.ValidationError("A name must not be empty, and neither it nor its value hold a NUL; a name holds no =.")
    return value


def _checked_ports(value: list[dict[str, object]]) -> list[dict[str, object]]:
    taken = {(port["published_port"], port["protocol"]) for port in value}
    if len(taken) < len(value):
        raise serializers.ValidationError("A port is published twice.")
    if len(value) > 100:
        raise serializers.ValidationError("At most 100 ports.")
    return value


class ServiceChangeSerializer(PullSerializer):
    """`PATCH`: what is absent stays. 0 takes a limit off. `env` sets what it names (null takes it off), the rest stays; `ports` replaces all."""

    image = serializers.RegexField(r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}$", max_length=512, required=False)
    replicas = serializers.IntegerField(min_value=0, max_value=MOST_REPLICAS, required=False)
    cpus = serializers.FloatField(min_value=0, max_value=1024, required=False)
    memory_bytes = serializers.IntegerField(min_value=0, max_value=2**50, required=False)
    env = serializers.DictField(
        child=serializers.CharField(max_length=32_768, allow_blank=True, allow_null=True, trim_whitespace=False), required=False
    )
    ports = PortShape(many=True, required=False)

    def validate_env(self, value: dict[str, str | None]) -> dict[str, str | None]:
        return _checked_env(value)

    def validate_ports(self, value: list[dict[str, object]]) -> list[dict[str, object]]:
        return _checked_ports(value)


class ServiceWishSerializer(PullSerializer):
    """`POST`. `mode` global: one task on each node that takes tasks; `replicas` says nothing then."""

    name = serializers.CharField(max_length=63)
    mode = serializers.ChoiceField(choices=("replicated", "global"), default="replicated")
    replicas = serializers.IntegerField(min_value=0, max_value=MOST_REPLICAS, default=1)
    command = serializers.ListField(child=serializers.CharField(max_length=4096, allow_blank=True), max_length=200, default=list)
    env = serializers.DictField(child=serializers.CharField(max_length=32_768, allow_blank=True, trim_whitespace=False), default=dict)
    cpus = serializers.FloatField(min_value=0, max_value=1024, default=0)
    memory_bytes = serializers.IntegerField(min_value=0, max_value=2**50, default=0)
    ports = PortShape(many=True, default=list)

    def validate_env(self, value: dict[str, str]) -> dict[str, str]:
        return _checked_env(value)

    def validate_ports(self, value: list[dict[str, object]]) -> list[dict[str, object]]:
        return _checked_ports(value)


class AvailabilitySerializer(StrictSerializer):
    """active: takes tasks. pause: keeps them and takes no new ones. drain: its tasks go to other nodes."""

    availability = serializers.ChoiceField(choices=AVAILABILITIES)
