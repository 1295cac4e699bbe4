from nodes.models.cluster import Cluster
from nodes.models.command import Command
from nodes.models.grants import ClusterRoleGrant, ClusterUserGrant, NodeRoleGrant, NodeUserGrant
from nodes.models.node import Node
from nodes.models.operation import Operation

__all__ = ["Cluster", "ClusterRoleGrant", "ClusterUserGrant", "Command", "Node", "NodeRoleGrant", "NodeUserGrant", "Operation"]
