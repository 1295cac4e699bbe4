"""A health check of a spec is the engine's to make; one that is none is refused."""

from __future__ import annotations

from typing import Any

import pytest

from agent.protocol.parts import HealthCheck
from agent.runtimes.base import RuntimeFailure

pytestmark = pytest.mark.docker


async def test_the_engine_holds_what_the_spec_says(docker_bench: Any) -> None:
    check = HealthCheck(test=["CMD", "true"], interval_seconds=0.5, timeout_seconds=5, retries=2, start_seconds=1)
    container_id = await docker_bench.create("forever", health=check)
    item = await docker_bench.runtime._finder.item(container_id)
    assert item["Config"]["Healthcheck"] == {
        "Test": ["CMD", "true"], "Interval": 500_000_000, "Timeout": 5_000_000_000, "StartPeriod": 1_000_000_000, "Retries": 2,
    }  # fmt: skip
    for test in ([], ["sh", "-c", "x"], ["cmd", "x"]):
        with pytest.raises(RuntimeFailure) as refused:
            await docker_bench.create("forever", health=HealthCheck(test=test))
        assert refused.value.code == "invalid_spec"
