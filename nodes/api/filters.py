"""Declared filters of nodes and operations (C11)."""

from __future__ import annotations

import django_filters

from lormas.common.api.filters import TrueOrFalse
from nodes.models import Node, Operation
from nodes.states import NodeStatus, OperationStatus


class NodeFilter(django_filters.FilterSet):
    """`?status=&cluster=&is_schedulable=&name=`."""

    status = django_filters.ChoiceFilter(choices=NodeStatus.choices)
    cluster = django_filters.UUIDFilter(field_name="cluster_id")
    is_schedulable = TrueOrFalse()
    name = django_filters.CharFilter()

    class Meta:
        model = Node
        fields: list[str] = []


class OperationFilter(django_filters.FilterSet):
    """`?status=&kind=&target_type=&target_id=`."""

    status = django_filters.ChoiceFilter(choices=OperationStatus.choices)
    kind = django_filters.CharFilter()
    target_type = django_filters.CharFilter()
    target_id = django_filters.UUIDFilter()

    class Meta:
        model = Operation
        fields: list[str] = []
