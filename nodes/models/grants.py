"""Rights on single nodes and clusters (`accounts.grants`). What is granted on a cluster counts for its nodes, too."""

from __future__ import annotations

from django.db import models

from accounts.grant_models import RoleGrant, UserGrant
from nodes.models.cluster import Cluster
from nodes.models.node import Node


class NodeUserGrant(UserGrant):
    """To a person."""

    content_object = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")

    class Meta(UserGrant.Meta):
        pass


class NodeRoleGrant(RoleGrant):
    """To a role."""

    content_object = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")

    class Meta(RoleGrant.Meta):
        pass


class ClusterUserGrant(UserGrant):
    """To a person."""

    content_object = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="+")

    class Meta(UserGrant.Meta):
        pass


class ClusterRoleGrant(RoleGrant):
    """To a role."""

    content_object = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="+")

    class Meta(RoleGrant.Meta):
        pass
