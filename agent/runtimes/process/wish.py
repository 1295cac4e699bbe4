"""What a program was made of, beside what is wanted of it now. Limits are set by the shim when it starts a program, so none change under it."""

from __future__ import annotations

from agent.protocol.messages import ContainerReport, ContainerSpec
from agent.runtimes.base import Difference, RuntimeFailure, spec_differences
from agent.runtimes.process.folders import Made


class Wishes:
    """The part of `ProcessRuntime` that compares."""

    async def _need(self, container_id: str) -> Made:
        raise NotImplementedError

    async def update(self, spec: ContainerSpec) -> ContainerReport:
        raise RuntimeFailure("unsupported", "This runtime sets limits when a program is started: they count from the next start.")

    async def drift(self, spec: ContainerSpec) -> list[Difference]:
        return spec_differences(spec, (await self._need(spec.container_id)).spec)
