"""Reservations, and the machines they hold."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from lormas.common import clock
from lormas.common.ids import new_id
from reservations.models.machine import Machine
from reservations.states import OPEN, Hold, State


class Reservation(models.Model):
    """So many machines for one person and one window of time."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="reservations")
    owner_label = models.CharField(max_length=255)
    purpose = models.CharField(max_length=255, blank=True)
    series = models.UUIDField(null=True, blank=True, db_index=True)  # of one that repeats

    # what was asked for
    count = models.PositiveIntegerField()
    duration_seconds = models.PositiveIntegerField()
    labels = models.JSONField(default=dict, blank=True)
    wanted = models.JSONField(default=list, blank=True)  # ids of machines asked for by name
    partial = models.BooleanField(default=False)  # take what can be made ready, rather than nothing
    sudo = models.BooleanField(default=False)

    # the account
    username = models.CharField(max_length=32)
    password = models.TextField(blank=True)  # encrypted; wiped when the account is gone; never returned
    public_key = models.TextField(blank=True)

    # the window; both empty while it waits
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)

    state = models.CharField(max_length=16, choices=State.choices)
    state_since = models.DateTimeField()
    deadline = models.DateTimeField(null=True, blank=True)  # of a passing state
    reason = models.CharField(max_length=500, blank=True)  # why it failed or ended
    will_fail = models.BooleanField(default=False)  # revoking because it could not be made ready
    queued_at = models.DateTimeField(null=True, blank=True)
    reminded_at = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    operation_id = models.UUIDField(null=True, blank=True)  # nodes.Operation that a person can watch

    # who works on it: claimed by conditional UPDATE, given up by time
    worker = models.CharField(max_length=128, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    due = models.DateTimeField(null=True, blank=True, db_index=True)  # when the sweep should look again

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(starts_at__isnull=True) | Q(ends_at__gt=F("starts_at")), name="reservation_ends_after_it_starts"),
            models.CheckConstraint(condition=Q(count__gte=1), name="reservation_of_at_least_one"),
        ]
        indexes = [models.Index(fields=["state", "ends_at"]), models.Index(fields=["owner", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.count} for {self.owner_label} ({self.state})"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_active(self) -> bool:
        """Usable at this moment. The clock alone ends it, whatever sweeps and machines do (the first hand on the expiry)."""
        return self.is_active_at(clock.now())

    def is_active_at(self, moment: datetime) -> bool:
        return self.state == State.ACTIVE and self.ends_at is not None and moment < self.ends_at


class Allocation(models.Model):
    """One machine in one reservation's window. Two open ones of a machine never meet: see `reservations.guard`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="allocations")
    machine = models.ForeignKey(Machine, on_delete=models.PROTECT, related_name="allocations")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    hold = models.CharField(max_length=16, choices=Hold.choices, default=Hold.BOOKED)
    began_at = models.DateTimeField(null=True, blank=True)  # from here on there may be an account on the machine
    ready_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)  # from here on it holds nothing
    uid = models.PositiveBigIntegerField(null=True, blank=True)  # of the account there, so that its leavings are found
    told_until = models.DateTimeField(null=True, blank=True)  # the end that the machine itself knows
    error = models.CharField(max_length=500, blank=True)
    attempts = models.PositiveIntegerField(default=0)  # at removing
    next_attempt_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["machine__name"]
        constraints = [
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="allocation_ends_after_it_starts"),
            # Whatever the windows say: no account is made on a machine from which the one before is not gone.
            models.UniqueConstraint(fields=["machine"], condition=Q(began_at__isnull=False, closed_at__isnull=True), name="one_holder_per_machine"),
            models.UniqueConstraint(fields=["reservation", "machine"], name="machine_once_per_reservation"),
        ]
        indexes = [models.Index(fields=["machine", "starts_at"]), models.Index(fields=["hold", "next_attempt_at"])]

    def __str__(self) -> str:
        return f"{self.machine} for {self.reservation_id} ({self.hold})"
