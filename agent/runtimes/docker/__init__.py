"""The Docker runtime: lifecycle through the SDK in a bounded pool of threads, streams through our own asyncio client."""

from __future__ import annotations

from agent.runtimes.docker.runtime import DockerRuntime

__all__ = ["DockerRuntime"]
