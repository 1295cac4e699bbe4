"""What was granted to the person behind a socket: which hints of topics they may get. Read again at every look, told by the second until when."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from accounts import grants
from accounts.grants import NEVER
from containers.access import grant_kind
from lormas.common import clock
from nodes.access import cluster_kind, node_kind
from nodes.models import Node

MOST = 5_000
"""Ids kept per socket; who was granted more single objects than that reloads lists."""


@dataclass(frozen=True, slots=True)
class Granted:
    """Ids with the end of the right to see them."""

    container_ends: dict[str, datetime] = field(default_factory=dict)
    node_ends: dict[str, datetime] = field(default_factory=dict)

    def containers(self) -> set[str]:
        """Those that have not ended by now."""
        return _alive(self.container_ends)

    def nodes(self) -> set[str]:
        return _alive(self.node_ends)


def _alive(ends: dict[str, datetime]) -> set[str]:
    if not ends:
        return set()
    now = clock.now()
    return {one for one, end in ends.items() if end > now}


def load_granted(user: Any) -> Granted:
    """As of now; no query for ids where nothing was granted."""
    containers = grants.seen_until(grant_kind(), user, limit=MOST)
    nodes = dict(grants.seen_until(node_kind(), user, limit=MOST))
    clusters = grants.seen_until(cluster_kind(), user, limit=MOST)
    if clusters:
        for node_id, cluster_id in Node.objects.filter(cluster_id__in=clusters).values_list("pk", "cluster_id")[:MOST]:
            end = clusters.get(cluster_id, NEVER)
            nodes[node_id] = max(nodes.get(node_id, end), end)
    return Granted({str(one): end for one, end in containers.items()}, {str(one): end for one, end in nodes.items()})
