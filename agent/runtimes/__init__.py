"""Engines behind one interface (`base.Runtime`): docker, process, fake."""

from __future__ import annotations

RUNTIMES: dict[str, str] = {
    "docker": "agent.runtimes.docker:DockerRuntime",
    "process": "agent.runtimes.process:ProcessRuntime",
    "fake": "agent.runtimes.fake:FakeRuntime",
}
