from nodes.models.cluster import Cluster
from nodes.models.command import Command
from nodes.models.event import NodeEvent
from nodes.models.fleet import Drain, MaintenanceWindow, Onboarding, OnboardingKey
from nodes.models.grants import ClusterRoleGrant, ClusterUserGrant, NodeRoleGrant, NodeUserGrant
from nodes.models.job import JobRun, Lease
from nodes.models.node import Node
from nodes.models.operation import Operation
from nodes.models.stock import Orphan, Registry

__all__ = [
    "Cluster",
    "ClusterRoleGrant",
    "ClusterUserGrant",
    "Command",
    "Drain",
    "JobRun",
    "Lease",
    "MaintenanceWindow",
    "Node",
    "NodeEvent",
    "NodeRoleGrant",
    "NodeUserGrant",
    "Onboarding",
    "OnboardingKey",
    "Operation",
    "Orphan",
    "Registry",
]
