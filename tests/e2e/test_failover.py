"""A node is lost and its cluster wants its containers elsewhere: real agents on two real engines, the link between one of them and the panel cut."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from audit.services import SYSTEM
from containers.models import Container, LeftCopy
from containers.services import leftovers
from nodes.clusters import create_cluster
from nodes.models import Node
from nodes.services import update_node
from tests.e2e.conftest import in_thread, until
from tests.e2e.second_engine import SecondEngine
from tests.e2e.test_moving import Twins, docker, engine, made, two_nodes

__all__ = ["engine"]
pytestmark = [
    pytest.mark.docker,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.waits,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(240),
]


async def test_a_lost_node_stops_by_itself_its_container_is_made_anew_and_the_old_copy_never_serves_again(
    transactional_db: None, engine: SecondEngine, tmp_path: Path, alice: Any, measured: Any
) -> None:
    """R39: the lease first, then the new one; back again, the old copy is stopped before anything else, whoever starts it."""
    short = {"NODE_NOT_READY_SECONDS": "20", "NODE_INACTIVE_SECONDS": "20", "FAILOVER_AFTER_SECONDS": "20"}
    async with two_nodes(tmp_path, engine, **short) as pair:
        cluster = await in_thread(create_cluster, actor=SYSTEM, name="eu", failover="restart_empty")
        for stack in (pair.here, pair.there):
            await in_thread(update_node, stack.node, actor=SYSTEM, cluster=cluster)
        await until(lambda: Node.objects.filter(lease_seconds__gt=0).exclude(gateway="").count() == 2, seconds=60, what="both know of their lease")
        for stack in (pair.here, pair.there):
            await stack.active()
        container = await made(alice, pair.there.node, command=["sh", "-c", "echo x >> /data/runs; trap 'exit 0' TERM; while :; do sleep 0.1; done"])
        old = await asyncio.to_thread(docker, engine.host, "ps", "-q", "--filter", f"label=lormas.container={container.pk}")
        async with Twins(pair, container) as twins:
            pair.there.link.blocked = True
            pair.there.link.cut()
            await until(lambda: not pair.running(container)["there"], seconds=60, what="stopped by its lease")
            assert await in_thread(lambda: Container.objects.get(pk=container.pk).epoch) == 1, "before it is started elsewhere"
            await until(
                lambda: Container.objects.filter(pk=container.pk, node=pair.here.node, status="running").exists(), seconds=90, what="made anew"
            )
            row = await in_thread(Container.objects.get, pk=container.pk)
            assert (row.epoch, len(pair.running(container)["e2e"])) == (2, 1)
            pair.there.link.blocked = False
            await pair.there.active(60)
            # Somebody starts the old copy by hand: it must not serve.
            await asyncio.to_thread(docker, engine.host, "start", old)
            await until(lambda: not pair.running(container)["there"], seconds=30, what="the old copy stopped again")
        assert [seen for seen in twins.seen if old not in seen] == [], "but for the hand on the engine never two"
        assert len(pair.running(container)["e2e"]) == 1
        row = await in_thread(Container.objects.get, pk=container.pk)
        assert (row.status, row.node_id) == ("running", pair.here.node.pk), "what the old node says counts for nothing"
        copy = await in_thread(lambda: LeftCopy.objects.get(container_id=container.pk))
        assert copy.node_id == pair.there.node.pk and pair.present(container)["there"], "its files are kept there"
        await in_thread(leftovers.remove, copy, actor=SYSTEM)
        await until(lambda: not pair.present(container)["there"], what="the old copy is gone")
        await until(lambda: not LeftCopy.objects.exists(), what="and so the panel says")
