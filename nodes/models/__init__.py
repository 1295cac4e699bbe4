from nodes.models.cluster import Cluster
from nodes.models.command import Command
from nodes.models.node import Node
from nodes.models.operation import Operation

__all__ = ["Cluster", "Command", "Node", "Operation"]
