"""Chainable filters over containers."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q


class ContainerQuerySet(models.QuerySet[Any]):
    """`Container.objects`."""

    def alive(self) -> ContainerQuerySet:
        """Not in the trash."""
        return self.filter(deleted_at__isnull=True)

    def trashed(self) -> ContainerQuerySet:
        return self.filter(deleted_at__isnull=False)

    def unlocked(self) -> ContainerQuerySet:
        """No operation runs on them."""
        from nodes.states import OPERATION_OPEN

        return self.filter(Q(operation__isnull=True) | ~Q(operation__status__in=OPERATION_OPEN))

    def matching(self, text: str) -> ContainerQuerySet:
        """Name, image or id begins with / contains the text."""
        found = Q(name__icontains=text) | Q(image__icontains=text)
        if len(text) >= 4:
            found |= Q(id__istartswith=text)
        return self.filter(found)

    def for_list(self) -> ContainerQuerySet:
        """All that a row of a list needs, in a constant number of queries."""
        rows = self.select_related("owner", "node", "egg", "egg_version", "operation").prefetch_related("ports")
        return rows.defer("egg_version__definition", "egg_version__warnings", "egg__description", "egg__icon")
