"""The process runtime: containers that are plain processes of this machine. It keeps nothing apart and says so."""

from __future__ import annotations

from agent.runtimes.process.runtime import ProcessRuntime

__all__ = ["ProcessRuntime"]
