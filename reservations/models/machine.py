"""Machines: SSH endpoints that people reserve."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower

from lormas.common.ids import new_id
from nodes.models import Node
from reservations.states import Condition


class Machine(models.Model):
    """One endpoint and the credentials with which Lormas makes and removes accounts there."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=255, blank=True)
    host = models.CharField(max_length=253)
    port = models.PositiveIntegerField(default=22)
    user = models.CharField(max_length=32)  # root, or one who may `sudo -n`
    password = models.TextField(blank=True)  # encrypted (lormas.common.crypto); never returned
    private_key = models.TextField(blank=True)  # encrypted
    labels = models.JSONField(default=dict, blank=True)
    allow_sudo = models.BooleanField(default=False)  # may accounts made here become root?
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="machines", null=True, blank=True)
    container_id = models.UUIDField(null=True, blank=True)  # no foreign key: rooms on one floor don't see each other

    # who answers there: pinned at first use
    host_key = models.TextField(blank=True)  # "ssh-ed25519 AAAA…"
    host_key_alarm = models.TextField(blank=True)  # another key that answered; everything stops until a person decides

    # how it is
    condition = models.CharField(max_length=16, choices=Condition.choices, default=Condition.OK)
    condition_reason = models.CharField(max_length=500, blank=True)
    condition_since = models.DateTimeField(auto_now_add=True)
    reachable = models.BooleanField(null=True)  # None: never looked
    reach_reason = models.CharField(max_length=255, blank=True)
    latency_ms = models.FloatField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    check_due = models.DateTimeField(null=True, blank=True, db_index=True)  # claimed by moving it on
    failures = models.PositiveIntegerField(default=0)  # checks in a row

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(Lower("name"), name="machine_name_unique_in_any_case")]

    def __str__(self) -> str:
        return self.name

    @property
    def usable(self) -> bool:
        """May it be given away, as far as its health goes?"""
        return self.condition == Condition.OK and self.reachable is True
