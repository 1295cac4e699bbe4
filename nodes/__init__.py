"""Nodes, clusters, the agents' gateway, commands, operations, placement."""
