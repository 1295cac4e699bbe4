"""A node is lost and its cluster wants its containers elsewhere: real agents on two real engines, the link between one of them and the panel cut."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from audit.services import SYSTEM
from containers.models import BackupWork, Container, LeftCopy
from containers.services import backups, backupwork, destinations, leftovers
from nodes.clusters import create_cluster, update_cluster
from nodes.models import Node, Operation
from nodes.services import update_node
from tests.e2e.conftest import in_thread, until
from tests.e2e.second_engine import SecondEngine
from tests.e2e.test_moving import Pair, Twins, docker, engine, made, two_nodes

__all__ = ["engine"]
pytestmark = [
    pytest.mark.docker,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.waits,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(240),
]


PROGRAM = """
[ -e /data/saved ] || head -c 3000000 /dev/urandom > /data/saved
echo x >> /data/runs; trap 'exit 0' TERM; while :; do sleep 0.1; done
"""


async def backed_up(container: Container, user: Any, folder: Path) -> None:
    """A good backup in a folder; the worker's part is played by this process."""
    where = {"folder": str(folder)}
    await in_thread(lambda: destinations.add(name="kept", kind="local", given=where, is_default=True, actor=SYSTEM))
    row = await in_thread(Container.objects.select_related("node", "operation").get, pk=container.pk)
    _, operation = await in_thread(backups.create_backup, row, user=user, actor=user.as_actor())
    work = await in_thread(BackupWork.objects.get, operation=operation)
    assert await in_thread(backupwork.run, str(work.pk))
    done = await in_thread(Operation.objects.get, pk=operation.pk)
    assert done.status == "succeeded", done.error_detail


def saved(pair: Pair, container: Container) -> tuple[str, list[str]]:
    """Checksum of what it saved, and its starts, as its node has them (none before it has begun to write)."""
    node_id = Container.objects.get(pk=container.pk).node_id
    assert node_id is not None
    place = Path(docker(pair.hosts[node_id], "volume", "inspect", "-f", "{{.Mountpoint}}", f"lormas-{container.pk}"))
    if not (place / "saved").exists():
        return "", []
    return hashlib.sha256((place / "saved").read_bytes()).hexdigest(), (place / "runs").read_text().split() if (place / "runs").exists() else []


async def runs_here(pair: Pair, container: Container) -> None:
    def look() -> bool:
        for work in BackupWork.objects.filter(is_open=True, worker=""):
            backupwork.run(str(work.pk))
        return Container.objects.filter(pk=container.pk, node=pair.here.node, status="running", operation=None).exists()

    await until(look, seconds=120, what=f"{container.name} made anew")


async def test_a_lost_node_stops_by_itself_its_containers_are_made_anew_and_the_old_copy_never_serves_again(
    transactional_db: None, engine: SecondEngine, tmp_path: Path, alice: Any
) -> None:
    """R39: the lease first, then the new one; back again, the old copy is stopped before anything else, whoever starts it. From the last backup where
    there is one; what has none waits for its node, until the cluster says that empty folders will do."""
    short = {"NODE_NOT_READY_SECONDS": "20", "NODE_INACTIVE_SECONDS": "20", "FAILOVER_AFTER_SECONDS": "20"}
    async with two_nodes(tmp_path, engine, **short) as pair:
        cluster = await in_thread(create_cluster, actor=SYSTEM, name="eu", failover="restore_backup")
        for stack in (pair.here, pair.there):
            await in_thread(update_node, stack.node, actor=SYSTEM, cluster=cluster)
        await until(lambda: Node.objects.filter(lease_seconds__gt=0).exclude(gateway="").count() == 2, seconds=60, what="both know of their lease")
        for stack in (pair.here, pair.there):
            await stack.active()
        container = await made(alice, pair.there.node, command=["sh", "-c", PROGRAM])
        bare = await made(alice, pair.there.node, name="bare", command=["sh", "-c", PROGRAM])
        await until(lambda: saved(pair, container)[1] and saved(pair, bare)[1], what="their files")
        await backed_up(container, alice, tmp_path / "kept")
        before, lost = await in_thread(saved, pair, container), await in_thread(saved, pair, bare)
        old = await asyncio.to_thread(docker, engine.host, "ps", "-q", "--filter", f"label=lormas.container={container.pk}")
        async with Twins(pair, container) as twins, Twins(pair, bare) as bare_twins:
            pair.there.link.blocked = True
            pair.there.link.cut()
            await until(lambda: not pair.running(container)["there"] and not pair.running(bare)["there"], seconds=60, what="stopped by its lease")
            assert await in_thread(lambda: Container.objects.get(pk=container.pk).epoch) == 1, "before it is started elsewhere"
            await runs_here(pair, container)
            row = await in_thread(Container.objects.get, pk=container.pk)
            assert (row.epoch, len(pair.running(container)["e2e"])) == (2, 1)
            await until(lambda: len(saved(pair, container)[1]) == len(before[1]) + 1, what="started once, on what was restored")
            assert (await in_thread(saved, pair, container))[0] == before[0], "the files of the backup"
            waits = await in_thread(Container.objects.get, pk=bare.pk)
            assert (waits.node_id, waits.status) == (pair.there.node.pk, "unknown") and "it has no good one" in waits.status_reason
            await in_thread(lambda: update_cluster(cluster, actor=SYSTEM, failover="restart_empty"))
            await runs_here(pair, bare)
            await until(lambda: saved(pair, bare)[1] == ["x"], what="started on empty folders")
            assert (await in_thread(saved, pair, bare))[0] != lost[0]
            pair.there.link.blocked = False
            await pair.there.active(60)
            # Somebody starts the old copy by hand: it must not serve.
            await asyncio.to_thread(docker, engine.host, "start", old)
            await until(lambda: not pair.running(container)["there"], seconds=30, what="the old copy stopped again")
        assert [seen for seen in twins.seen if old not in seen] == [], "but for the hand on the engine never two"
        assert bare_twins.seen == [] and len(pair.running(container)["e2e"]) == 1
        row = await in_thread(Container.objects.get, pk=container.pk)
        assert (row.status, row.node_id) == ("running", pair.here.node.pk), "what the old node says counts for nothing"
        copy = await in_thread(lambda: LeftCopy.objects.get(container_id=container.pk))
        assert copy.node_id == pair.there.node.pk and pair.present(container)["there"], "its files are kept there"
        await in_thread(leftovers.remove, copy, actor=SYSTEM)
        await until(lambda: not pair.present(container)["there"], what="the old copy is gone")
        await until(lambda: not LeftCopy.objects.filter(container_id=container.pk).exists(), what="and so the panel says")
        assert pair.present(bare)["there"], "the other one is kept until somebody says otherwise"
