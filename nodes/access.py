"""Doors to nodes: unseen is 404, seen but not allowed is 403."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from accounts.access import has
from lormas.common.errors import Forbidden, NotFound
from nodes.models import Cluster, Node


def visible_nodes(user: Any) -> QuerySet[Node]:
    """All nodes for those who may see nodes, else none."""
    found = Node.objects.select_related("cluster")
    return found if has(user, "nodes.view") else found.none()


def visible_clusters(user: Any) -> QuerySet[Cluster]:
    """All clusters for those who may see nodes, else none."""
    return Cluster.objects.all() if has(user, "nodes.view") else Cluster.objects.none()


def _require(user: Any, capability: str, what: str) -> None:
    if not has(user, capability):
        raise Forbidden(f"Your role does not include {capability} on {what}.", extra={"capability": capability})


def get_node(user: Any, node_id: UUID | str, capability: str = "nodes.view") -> Node:
    """The node. Raises NotFound if it is unknown or unseen, Forbidden if seen but `capability` is missing."""
    node = visible_nodes(user).filter(pk=node_id).first()
    if node is None:
        raise NotFound("There is no such node, or you may not see it.")
    _require(user, capability, "this node")
    return node


def get_cluster(user: Any, cluster_id: UUID | str, capability: str = "nodes.view") -> Cluster:
    """The cluster; refusals as in `get_node`."""
    cluster = visible_clusters(user).filter(pk=cluster_id).first()
    if cluster is None:
        raise NotFound("There is no such cluster, or you may not see it.")
    _require(user, capability, "this cluster")
    return cluster
