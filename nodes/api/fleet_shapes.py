"""Shapes of what is planned for nodes: drains, windows, keys, registries, stock, jobs, events."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer, TimeField
from nodes.api.serializers import TaintSerializer
from nodes.drains import DEFAULT_SECONDS
from nodes.models import Cluster, JobRun, MaintenanceWindow, NodeEvent, OnboardingKey, Orphan, Registry
from nodes.stock import KINDS


class DrainSerializer(StrictSerializer):
    """`POST …/drain`. Without `force` what still runs at the deadline stays, and the drain fails."""

    deadline_seconds = serializers.FloatField(min_value=1, max_value=7 * 86400, default=DEFAULT_SECONDS)
    force = serializers.BooleanField(default=False)
    message = serializers.CharField(max_length=200, allow_blank=True, default="")


class UndrainSerializer(StrictSerializer):
    """`POST …/undrain`. `keep_ineligible`: end the drain, but take no new containers and start nothing."""

    keep_ineligible = serializers.BooleanField(default=False)
    message = serializers.CharField(max_length=200, allow_blank=True, default="")


class HoldingSerializer(StrictSerializer):
    """A container on the node, and what a drain would do with it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    owner = serializers.CharField()
    status = serializers.CharField()
    act = serializers.ChoiceField(choices=("move", "stop"))
    movable = serializers.BooleanField()
    why_not = serializers.CharField(allow_blank=True)
    goes_to = serializers.CharField(allow_blank=True)
    loses = serializers.ListField(child=serializers.CharField())


class DrainPlanSerializer(StrictSerializer):
    """What a drain would do now."""

    containers = HoldingSerializer(many=True)


class WindowSerializer(StrictModelSerializer):
    """A maintenance window."""

    class Meta:
        model = MaintenanceWindow
        fields = ["id", "node", "cluster", "starts_at", "ends_at", "reason", "drain", "state", "created_at"]
        read_only_fields = ["id", "node", "cluster", "state", "created_at"]


class OnboardingKeyWishSerializer(StrictSerializer):
    """A new key."""

    name = serializers.CharField(max_length=64)
    expires_at = TimeField()
    max_uses = serializers.IntegerField(min_value=1, max_value=10_000, default=1)
    cluster: Any = serializers.PrimaryKeyRelatedField(queryset=Cluster.objects.all(), allow_null=True, required=False)
    labels = serializers.DictField(child=serializers.CharField(max_length=128, allow_blank=True), required=False)
    taints = TaintSerializer(many=True, required=False)
    name_prefix = serializers.CharField(max_length=32, allow_blank=True, required=False)


class OnboardingKeySerializer(StrictModelSerializer):
    """A key without its text."""

    class Meta:
        model = OnboardingKey
        fields = [
            "id", "name", "prefix", "cluster", "labels", "taints", "name_prefix", "max_uses", "uses", "expires_at", "revoked_at", "last_used_at",
            "created_at",
        ]  # fmt: skip
        read_only_fields = fields


class NewOnboardingKeySerializer(OnboardingKeySerializer):
    """Answer to POST: the key is shown this once."""

    key = serializers.CharField(read_only=True)
    command = serializers.CharField(read_only=True, help_text="For the shell of each machine.")

    class Meta(OnboardingKeySerializer.Meta):
        fields = [*OnboardingKeySerializer.Meta.fields, "key", "command"]
        read_only_fields = fields


class StoredRegistrySerializer(StrictModelSerializer):
    """A registry; the password goes in and never comes out."""

    password = serializers.CharField(write_only=True, max_length=4096, allow_blank=True, required=False, trim_whitespace=False)
    has_password = serializers.SerializerMethodField()

    class Meta:
        model = Registry
        fields = ["id", "name", "server", "username", "password", "has_password", "is_shared", "created_at", "updated_at"]
        read_only_fields = ["id", "created_at", "updated_at"]
        extra_kwargs: Any = {"name": {"validators": []}, "server": {"validators": []}}  # the service says which is taken

    def get_has_password(self, registry: Registry) -> bool:
        return bool(registry.password)


class StockItemSerializer(StrictSerializer):
    """An image, volume or network, as its engine says."""

    id = serializers.CharField()
    name = serializers.CharField()
    in_use = serializers.BooleanField()
    ours = serializers.BooleanField()
    container_id = serializers.CharField(required=False, allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    size_bytes = serializers.IntegerField(required=False)
    containers = serializers.IntegerField(required=False)
    created_at = serializers.CharField(required=False, allow_blank=True)
    driver = serializers.CharField(required=False, allow_blank=True)
    scope = serializers.CharField(required=False, allow_blank=True)


class StockSerializer(StrictSerializer):
    """A listing, read from the node when it was asked for."""

    items = StockItemSerializer(many=True)


class PullSerializer(StrictSerializer):
    """An image to pull."""

    image = serializers.RegexField(r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}$", max_length=512)


class StockRemoveSerializer(StrictSerializer):
    """One to remove. `force`: all names of an image; never one in use."""

    name = serializers.CharField(max_length=512)
    force = serializers.BooleanField(default=False)


class PruneSerializer(StrictSerializer):
    """Exactly what a preview has shown."""

    kind = serializers.ChoiceField(choices=KINDS)
    ids = serializers.ListField(child=serializers.CharField(max_length=512), max_length=2000)


class RemovedSerializer(StrictSerializer):
    """What is gone."""

    removed = serializers.ListField(child=serializers.CharField())


class OrphanSerializer(StrictModelSerializer):
    """A container that no row knows."""

    why_kept = serializers.CharField(read_only=True, help_text="Why it is not removed now; empty: the next sweep removes it.")

    class Meta:
        model = Orphan
        fields = ["id", "node", "container_id", "image", "state", "first_seen", "last_seen", "keep", "asked_at", "why_kept"]
        read_only_fields = [name for name in fields if name != "keep"]


class NodeEventSerializer(StrictModelSerializer):
    """A line of a node's timeline."""

    class Meta:
        model = NodeEvent
        fields = ["id", "time", "kind", "level", "before", "after", "message"]
        read_only_fields = fields


class JobRunSerializer(StrictModelSerializer):
    """One run."""

    class Meta:
        model = JobRun
        fields = ["id", "job", "trigger", "actor_label", "status", "result", "error", "started_at", "finished_at"]
        read_only_fields = fields


class JobSerializer(StrictSerializer):
    """A periodic job as it stands."""

    name = serializers.CharField(source="job.name")
    title = serializers.CharField(source="job.title")
    every_seconds = serializers.IntegerField(source="job.every_seconds")
    at = serializers.CharField(source="job.at", allow_blank=True, help_text="HH:MM UTC of a daily job.")
    is_running = serializers.BooleanField()
    is_overdue = serializers.BooleanField()
    next_due = TimeField(allow_null=True)
    last = JobRunSerializer(allow_null=True)
