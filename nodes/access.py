"""Doors to nodes: unseen is 404, seen but not allowed is 403."""

from __future__ import annotations

from functools import cache
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from accounts import grants
from accounts.access import has
from accounts.grants import Kind
from lormas.common.database import one
from lormas.common.errors import NotFound
from nodes.models import Cluster, ClusterRoleGrant, ClusterUserGrant, Node, NodeRoleGrant, NodeUserGrant

NODE_PERMISSIONS = (
    "nodes.view",
    "nodes.edit",
    "nodes.token",
    "nodes.drain",
    "nodes.delete",
    "nodes.grant",
    "containers.choose_node",
)
"""What can be granted on a node; on a cluster the same, for all its nodes, and `clusters.manage`."""


@cache
def node_kind() -> Kind:
    return Kind(
        name="node",
        model=Node,
        people=NodeUserGrant,
        roles=NodeRoleGrant,
        permissions=NODE_PERMISSIONS,
        manage="nodes.grant",
        get=get_node,
        standing=lambda user, node: True,
        url="nodes:detail",
        template="nodes/frame.html",
        frame=_frame,
        above="cluster",
        above_id="cluster_id",
    )


def _frame(user: Any, node: Any) -> dict[str, Any]:
    from nodes.views import frame_of

    return frame_of(user, node)


@cache
def cluster_kind() -> Kind:
    return Kind(
        name="cluster",
        model=Cluster,
        people=ClusterUserGrant,
        roles=ClusterRoleGrant,
        permissions=(*NODE_PERMISSIONS, "clusters.manage"),
        manage="nodes.grant",
        get=get_cluster,
        standing=lambda user, cluster: True,
        url="nodes:cluster",
    )


def visible_nodes(user: Any) -> QuerySet[Node]:
    """All nodes for those who may see nodes, else those that were granted, by themselves or with their cluster."""
    found = Node.objects.select_related("cluster")
    if has(user, "nodes.view"):
        return found
    seen = Q()
    if grants.holds_any(node_kind(), user) and (own := grants.granted_ids(node_kind(), user)) is not None:
        seen |= Q(pk__in=own)
    if grants.holds_any(cluster_kind(), user) and (whole := grants.granted_ids(cluster_kind(), user)) is not None:
        seen |= Q(cluster_id__in=whole)
    return found.filter(seen) if seen else found.none()


def visible_clusters(user: Any) -> QuerySet[Cluster]:
    """All clusters for those who may see nodes, else those that were granted."""
    if has(user, "nodes.view"):
        return Cluster.objects.all()
    granted = grants.granted_ids(cluster_kind(), user) if grants.holds_any(cluster_kind(), user) else None
    return Cluster.objects.none() if granted is None else Cluster.objects.filter(pk__in=granted)


def choosable_nodes(user: Any) -> QuerySet[Node]:
    """Nodes that this person may name for a new container."""
    seen = visible_nodes(user)
    if has(user, "containers.choose_node"):
        return seen
    chosen = Q()
    if grants.holds_any(node_kind(), user) and (own := grants.granted_ids(node_kind(), user, "containers.choose_node")) is not None:
        chosen |= Q(pk__in=own)
    if grants.holds_any(cluster_kind(), user) and (whole := grants.granted_ids(cluster_kind(), user, "containers.choose_node")) is not None:
        chosen |= Q(cluster_id__in=whole)
    return seen.filter(chosen) if chosen else seen.none()


def sees_nodes(user: Any) -> bool:
    """Is there a reason to show this person the pages of nodes?"""
    return has(user, "nodes.view") or grants.holds_any(node_kind(), user) or grants.holds_any(cluster_kind(), user)


def get_node(user: Any, node_id: UUID | str, capability: str = "nodes.view") -> Node:
    """The node. Raises NotFound if it is unknown or unseen, Forbidden if seen but `capability` is missing."""
    node = one(visible_nodes(user).filter(pk=node_id))
    if node is None:
        raise NotFound("There is no such node, or you may not see it.")
    if capability != "nodes.view":
        grants.require(node_kind(), user, node, capability)
    return node


def get_cluster(user: Any, cluster_id: UUID | str, capability: str = "nodes.view") -> Cluster:
    """The cluster; refusals as in `get_node`."""
    cluster = visible_clusters(user).filter(pk=cluster_id).first()
    if cluster is None:
        raise NotFound("There is no such cluster, or you may not see it.")
    if capability != "nodes.view":
        grants.require(cluster_kind(), user, cluster, capability)
    return cluster


def rights(user: Any, node: Node) -> frozenset[str]:
    """What this person may do with it: for buttons and tabs."""
    return grants.rights(node_kind(), user, node)
