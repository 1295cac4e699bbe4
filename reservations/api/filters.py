"""Declared filters of machines and reservations (C11)."""

from __future__ import annotations

from typing import Any

import django_filters

from reservations.models import Machine, Reservation
from reservations.states import OPEN, Condition, State


class MachineFilter(django_filters.FilterSet):
    """`?condition=&name=&label=key=value`."""

    condition = django_filters.ChoiceFilter(choices=Condition.choices)
    name = django_filters.CharFilter()
    label = django_filters.CharFilter(method="with_label")

    class Meta:
        model = Machine
        fields: list[str] = []

    def with_label(self, found: Any, name: str, value: str) -> Any:
        """By key, or by key=value; compared here because JSON queries differ between databases."""
        key, equals, wanted = value.partition("=")
        good = [m.pk for m in Machine.objects.only("pk", "labels") if key in m.labels and (not equals or m.labels[key] == wanted)]
        return found.filter(pk__in=good)


class ReservationFilter(django_filters.FilterSet):
    """`?state=&owner=&machine=&series=&open=true`."""

    state = django_filters.ChoiceFilter(choices=State.choices)
    owner = django_filters.UUIDFilter(field_name="owner_id")
    machine = django_filters.UUIDFilter(field_name="allocations__machine_id")
    series = django_filters.UUIDFilter()
    open = django_filters.ChoiceFilter(choices=[("true", "true"), ("false", "false")], method="only_open")

    class Meta:
        model = Reservation
        fields: list[str] = []

    def only_open(self, found: Any, name: str, value: str) -> Any:
        return found.filter(state__in=OPEN) if value == "true" else found.exclude(state__in=OPEN)
