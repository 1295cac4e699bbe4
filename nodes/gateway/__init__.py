"""The agents' socket, `WS /api/ws/nodes`: a raw ASGI application with its own receive loop.

`bulk` is the door for sockets of one transfer each, `door` lets agents in, `session` talks to one of them, `streams` keeps log watches, execs and
views of terminals, `beats` and `samples` write heartbeats and statistics in batches, `store` is what touches the database (in a small thread pool,
never on the event loop).
"""

from nodes.gateway.bulk import application as bulk_application
from nodes.gateway.door import application

__all__ = ["application", "bulk_application"]
