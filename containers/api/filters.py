"""Declared filters of `GET /api/containers`."""

from __future__ import annotations

import django_filters
from django.db.models import QuerySet

from containers.models import Container
from containers.states import Status


class ContainerFilter(django_filters.FilterSet):
    """`?node=&cluster=&status=&owner=&egg=&label=&search=`."""

    node = django_filters.UUIDFilter(field_name="node_id")
    cluster = django_filters.UUIDFilter(field_name="node__cluster_id")
    owner = django_filters.UUIDFilter(field_name="owner_id")
    egg = django_filters.UUIDFilter(field_name="egg_id")
    status = django_filters.MultipleChoiceFilter(choices=Status.choices, distinct=False)  # a column of its own doubles no row
    label = django_filters.CharFilter(method="by_label", max_length=256)
    search = django_filters.CharFilter(method="by_text", max_length=200)

    class Meta:
        model = Container
        fields = ["node", "cluster", "owner", "egg", "status", "label", "search"]

    def by_label(self, containers: QuerySet[Container], name: str, value: str) -> QuerySet[Container]:
        """`key` or `key=value`. The key goes into a JSON *containment*, never into a lookup path (C11)."""
        key, equals, wanted = value.partition("=")
        found = containers.filter(labels__has_key=key)
        if not equals:
            return found
        keys = [pk for pk, labels in found.order_by().values_list("pk", "labels") if labels.get(key) == wanted]
        return containers.filter(pk__in=keys)

    def by_text(self, containers: QuerySet[Container], name: str, value: str) -> QuerySet[Container]:
        return containers.matching(value.strip()) if value.strip() else containers  # type: ignore[attr-defined,no-any-return]
