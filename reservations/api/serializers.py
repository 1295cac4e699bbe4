"""Shapes of the reservations API (SURFACE section 7)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer, TimeField
from reservations.hostkeys import fingerprint
from reservations.models import Allocation, Machine, Reservation
from reservations.services.reserve import MAX_COUNT
from reservations.states import Hold, MachineStatus, State
from reservations.windows import MAX_REPEATS

MAX_MINUTES = 527_040
Labels = serializers.DictField


class HolderSerializer(StrictSerializer):
    """Who holds a machine. `reservation` only where you may see it."""

    person = serializers.CharField()
    until = TimeField()
    reservation = serializers.UUIDField(allow_null=True)


class MachineSerializer(StrictModelSerializer):
    """A machine as you may see it: its credentials are in no answer, its own user only in those to people who manage machines."""

    labels = Labels(child=serializers.CharField(), read_only=True)
    status = serializers.ChoiceField(choices=MachineStatus.choices, read_only=True)
    reason = serializers.CharField(read_only=True, allow_blank=True)
    holder = HolderSerializer(read_only=True, allow_null=True)
    user = serializers.CharField(read_only=True, allow_null=True)
    has_password = serializers.BooleanField(read_only=True)
    has_private_key = serializers.BooleanField(read_only=True)
    host_key_fingerprint = serializers.CharField(read_only=True, allow_blank=True)
    host_key_alarm_fingerprint = serializers.CharField(read_only=True, allow_blank=True)

    class Meta:
        model = Machine
        fields = [
            "id", "name", "description", "host", "port", "user", "has_password", "has_private_key", "labels", "allow_sudo", "node", "container_id",
            "status", "reason", "holder", "condition", "condition_since", "reachable", "latency_ms", "checked_at",
            "host_key_fingerprint", "host_key_alarm_fingerprint", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Of a row of `selectors.pool`, or of a machine (then its status is asked for)."""
        from accounts.access import has
        from reservations import selectors

        row = instance if isinstance(instance, dict) else selectors.pool([instance])["rows"][0]
        machine: Machine = row["machine"]
        viewer = self.context["request"].user
        manages = has(viewer, "machines.manage")
        holder = row["holder"]
        machine.status, machine.reason, machine.holder = row["status"], row["reason"], None  # type: ignore[attr-defined]
        if holder is not None:
            seen = holder.reservation.owner_id == viewer.pk or has(viewer, "reservations.any")
            machine.holder = {  # type: ignore[attr-defined]
                "person": holder.reservation.owner_label, "until": holder.until, "reservation": holder.reservation.pk if seen else None,
            }  # fmt: skip
        machine.has_password, machine.has_private_key = bool(machine.password), bool(machine.private_key)  # type: ignore[attr-defined]
        machine.host_key_fingerprint = fingerprint(machine.host_key)  # type: ignore[attr-defined]
        machine.host_key_alarm_fingerprint = fingerprint(machine.host_key_alarm)  # type: ignore[attr-defined]
        body = super().to_representation(machine)
        return body if manages else {**body, "user": None}


class MachineWishSerializer(StrictSerializer):
    """What people set. POST needs `name`, `host` (or `node` or `container`), `user` and a way in; PATCH nothing."""

    name = serializers.CharField(max_length=64)
    description = serializers.CharField(max_length=255, allow_blank=True, required=False)
    host = serializers.CharField(max_length=253, required=False)
    port = serializers.IntegerField(min_value=1, max_value=65535, required=False)
    user = serializers.CharField(max_length=32, required=False)
    password = serializers.CharField(max_length=128, allow_blank=True, required=False, write_only=True, trim_whitespace=False)
    private_key = serializers.CharField(max_length=16_384, allow_blank=True, required=False, write_only=True, trim_whitespace=False)
    labels = Labels(child=serializers.CharField(max_length=128, allow_blank=True), required=False)
    allow_sudo = serializers.BooleanField(required=False)
    node = serializers.UUIDField(required=False, allow_null=True, help_text="A node of Lormas whose machine this is: its address is the default.")
    container = serializers.UUIDField(required=False, allow_null=True, help_text="A container of Lormas that runs an SSH server on port 22.")


class MachineFileSerializer(StrictSerializer):
    """A machine file, as JSON (or as YAML by its media type)."""

    machines = serializers.ListField(child=serializers.DictField(), min_length=1, max_length=1000)


class ImportedMachinesSerializer(StrictSerializer):
    """What became of it."""

    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    machines = MachineSerializer(many=True)


class BrokenSerializer(StrictSerializer):
    """Why."""

    reason = serializers.CharField(max_length=300, allow_blank=True, required=False)


class FixedSerializer(StrictSerializer):
    """How it was put in order."""

    accept_host_key = serializers.CharField(max_length=100, required=False, help_text="Fingerprint of the new host key, where it changed.")
    set_up_anew = serializers.BooleanField(required=False, help_text="It was installed from scratch: accounts not proved gone are written off.")


class PoolMachineSerializer(StrictSerializer):
    """One machine in the pool's status."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    labels = Labels(child=serializers.CharField())  # type: ignore[assignment]
    status = serializers.ChoiceField(choices=MachineStatus.choices)
    reason = serializers.CharField(allow_blank=True)
    until = TimeField(allow_null=True)
    person = serializers.CharField(allow_null=True)


class PoolSerializer(StrictSerializer):
    """The pool now."""

    total = serializers.IntegerField()
    available = serializers.IntegerField()
    reserved = serializers.IntegerField()
    quarantined = serializers.IntegerField()
    broken = serializers.IntegerField()
    offline = serializers.IntegerField()
    waiting = serializers.IntegerField(help_text="Reservations in the queue.")
    machines = PoolMachineSerializer(many=True)


class HeldMachineSerializer(StrictSerializer):
    """One machine of a reservation: where and as whom you sign in."""

    id = serializers.UUIDField(source="machine.pk")
    name = serializers.CharField(source="machine.name")
    host = serializers.CharField(source="machine.host")
    port = serializers.IntegerField(source="machine.port")
    username = serializers.CharField(source="reservation.username")
    state = serializers.ChoiceField(choices=Hold.choices, source="hold")
    error = serializers.CharField(allow_blank=True)
    ready_at = TimeField(allow_null=True)
    host_key_fingerprint = serializers.SerializerMethodField()

    def get_host_key_fingerprint(self, allocation: Allocation) -> str:
        return fingerprint(allocation.machine.host_key)


class QueuePlaceSerializer(StrictSerializer):
    """Where it stands, and when it is expected to start (null: unknown)."""

    position = serializers.IntegerField()
    estimated_start = TimeField(allow_null=True)


class ReservationSerializer(StrictModelSerializer):
    """A reservation, to its owner and to those who see all."""

    owner = serializers.PrimaryKeyRelatedField(read_only=True, allow_null=True)  # type: ignore[var-annotated]
    labels = Labels(child=serializers.CharField(), read_only=True)
    is_active = serializers.BooleanField(read_only=True)
    machines = serializers.SerializerMethodField()
    queue = serializers.SerializerMethodField()
    operation = serializers.UUIDField(source="operation_id", read_only=True, allow_null=True)

    class Meta:
        model = Reservation
        fields = [
            "id", "state", "state_since", "reason", "owner", "owner_label", "purpose", "count", "duration_seconds", "labels", "partial", "sudo",
            "username", "starts_at", "ends_at", "is_active", "machines", "queue", "series", "operation", "activated_at", "ended_at", "created_at",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(HeldMachineSerializer(many=True))
    def get_machines(self, reservation: Reservation) -> list[dict[str, Any]]:
        found = [a for a in reservation.allocations.all() if a.hold != Hold.GIVEN_UP]
        return [dict(row) for row in HeldMachineSerializer(found, many=True).data]

    @extend_schema_field(QueuePlaceSerializer(allow_null=True))
    def get_queue(self, reservation: Reservation) -> dict[str, Any] | None:
        if reservation.state != State.WAITING:
            return None
        plan = self.context.get("plans", {}).get(reservation.pk)
        return QueuePlaceSerializer({"position": plan.position, "estimated_start": plan.starts_at}).data if plan else None


class RepeatSerializer(StrictSerializer):
    """How it repeats: at the same time of day in `time_zone`."""

    every = serializers.ChoiceField(choices=("day", "week"))
    times = serializers.IntegerField(min_value=1, max_value=MAX_REPEATS)
    time_zone = serializers.CharField(max_length=64, default="UTC")


class NewReservationSerializer(StrictSerializer):
    """What to reserve. Give `duration_minutes` or `until`; `reservation_password` or `public_key`, or both."""

    count = serializers.IntegerField(min_value=1, max_value=MAX_COUNT, required=False, help_text="Default: as many as `machines` names, else 1.")
    duration_minutes = serializers.IntegerField(min_value=1, max_value=MAX_MINUTES, required=False)
    until = TimeField(required=False)
    starts_at = TimeField(required=False, allow_null=True, help_text="Default: now.")
    labels = Labels(child=serializers.CharField(max_length=128, allow_blank=True), required=False, help_text='Empty value: any, such as {"gpu": ""}.')
    machines = serializers.ListField(child=serializers.CharField(max_length=64), required=False, max_length=MAX_COUNT, help_text="Ids or names.")
    reservation_password = serializers.CharField(max_length=128, required=False, write_only=True, trim_whitespace=False)
    public_key = serializers.CharField(max_length=8192, required=False)
    purpose = serializers.CharField(max_length=255, allow_blank=True, required=False)
    dry_run = serializers.BooleanField(required=False)
    queue = serializers.BooleanField(required=False, help_text="Wait where not enough are free.")
    partial: Any = serializers.BooleanField(required=False, help_text="Where some machines fail to become ready: keep the others.")
    sudo = serializers.BooleanField(required=False, help_text="Where the machine allows it.")
    repeat = RepeatSerializer(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("duration_minutes" in attrs) == ("until" in attrs):
            raise serializers.ValidationError({"duration_minutes": ["Give either duration_minutes or until."]}, code="required")
        return attrs


class OccurrenceSerializer(StrictSerializer):
    """One of a series."""

    id = serializers.UUIDField()
    starts_at = TimeField(allow_null=True)
    ends_at = TimeField(allow_null=True)


class MadeReservationSerializer(ReservationSerializer):
    """The first, and all of its series."""

    occurrences = OccurrenceSerializer(many=True)

    class Meta(ReservationSerializer.Meta):
        fields = [*ReservationSerializer.Meta.fields, "occurrences"]
        read_only_fields = fields


class RefusalSerializer(StrictSerializer):
    """Why a machine is not taken."""

    machine = serializers.CharField()
    rule = serializers.ChoiceField(choices=("health", "name", "label", "held", "queue"))
    reason = serializers.CharField()


class TrialSerializer(StrictSerializer):
    """One window of a dry run."""

    starts_at = TimeField()
    ends_at = TimeField()
    enough = serializers.BooleanField()
    machines = serializers.ListField(child=serializers.CharField(), help_text="Those that would be taken.")
    free = serializers.ListField(child=serializers.CharField(), help_text="All that match and are free.")
    refused = RefusalSerializer(many=True)
    next_at = TimeField(allow_null=True)
    position = serializers.IntegerField(allow_null=True)


class DryRunSerializer(StrictSerializer):
    """What would happen; nothing did."""

    dry_run = serializers.BooleanField()
    would = serializers.ChoiceField(choices=("start", "wait", "be_refused"))
    windows = TrialSerializer(many=True)


class ExtendSerializer(StrictSerializer):
    """By how much."""

    minutes = serializers.IntegerField(min_value=1, max_value=MAX_MINUTES)


class ReleaseAllSerializer(StrictSerializer):
    """`confirm`: how many open reservations you saw; another number now is refused."""

    confirm = serializers.IntegerField(min_value=0, required=False)


class ReleasedSerializer(StrictSerializer):
    """How many were ended."""

    released = serializers.IntegerField()


class QueueEntrySerializer(StrictSerializer):
    """Somebody who waits."""

    position = serializers.IntegerField()
    person = serializers.CharField()
    count = serializers.IntegerField()
    duration_seconds = serializers.IntegerField()
    labels = Labels(child=serializers.CharField())  # type: ignore[assignment]
    queued_at = TimeField()
    estimated_start = TimeField(allow_null=True)
    reservation = serializers.UUIDField(allow_null=True)


class UsageRowSerializer(StrictSerializer):
    """Time held."""

    id = serializers.CharField()
    name = serializers.CharField()
    machine_hours = serializers.FloatField()
    reservations = serializers.IntegerField()


class UsageSerializer(StrictSerializer):
    """By person and by machine."""

    since = TimeField()
    until = TimeField()
    people = UsageRowSerializer(many=True)
    machines = UsageRowSerializer(many=True)


class LimitsSerializer(StrictSerializer):
    """What counts for you."""

    max_machines = serializers.IntegerField()
    max_reservations = serializers.IntegerField()
    max_minutes = serializers.IntegerField()
    max_days_ahead = serializers.IntegerField()


class SetLimitSerializer(StrictSerializer):
    """Of a person or of a role; null: as further up. All null: none of its own."""

    user = serializers.UUIDField(required=False)
    role = serializers.UUIDField(required=False)
    max_machines = serializers.IntegerField(min_value=0, max_value=100_000, allow_null=True, required=False)
    max_reservations = serializers.IntegerField(min_value=0, max_value=100_000, allow_null=True, required=False)
    max_minutes = serializers.IntegerField(min_value=0, max_value=MAX_MINUTES, allow_null=True, required=False)
    max_days_ahead = serializers.IntegerField(min_value=0, max_value=3650, allow_null=True, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("user" in attrs) == ("role" in attrs):
            raise serializers.ValidationError({"user": ["Give either user or role."]}, code="required")
        return attrs
