"""Taking in the samples of 1,000 containers on 20 nodes, one each per tick of 10 s: the panel's processor time, as a share of the tick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

from bench.figures import Figure, median

CONTAINERS, NODES = 1_000, 20
TICK_SECONDS = 10.0
AIM_SHARE = 0.02


def measure(*, quick: bool) -> list[Figure]:
    """In a process of its own, so that its settings and database are its own."""
    with tempfile.TemporaryDirectory(prefix="lormas-bench-") as folder:
        env = {**os.environ, "LORMAS_DATA": folder, "LOG_LEVEL": "error", "SECRET_KEY": "bench-bench-bench-bench-bench-bench-bench-bench-1"}
        done = subprocess.run(
            [sys.executable, "-m", "bench.samples", "3" if quick else "12"], env=env, capture_output=True, text=True, timeout=900, check=False
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    share = 100 * found["cpu_seconds"] / TICK_SECONDS
    aim = f"<= {100 * AIM_SHARE:g} %"
    return [
        Figure(f"samples of {CONTAINERS:,} containers taken in, share of a tick of 10 s", share, "%", "", None, aim, share <= 100 * AIM_SHARE),
        Figure("the same, by the clock", 1000 * found["wall_seconds"], "ms", "", None, "", None),
    ]


def main(ticks: int) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from accounts.models import Role, User
    from accounts.seeding import seed_roles
    from agent.protocol.messages import ContainerStats, NodeUsage, StatsReport
    from containers import stats
    from containers.models import Container
    from lormas.common import clock
    from nodes.models import Node

    call_command("migrate", verbosity=0)
    seed_roles()
    owner = User.objects.create_user("member@example.org", None, username="member", role=Role.objects.get(slug="member"))
    nodes = Node.objects.bulk_create(Node(name=f"node-{n}") for n in range(NODES))
    made = Container.objects.bulk_create(
        Container(name=f"c{n}", owner=owner, node=nodes[n % NODES], image="busybox", status="running", observed="running") for n in range(CONTAINERS)
    )
    cpu, wall = [], []
    started_at = str(clock.rfc3339(clock.now()))
    for tick in range(ticks + 1):
        reports = [
            StatsReport(
                sampled_at_unix=time.time(),
                node=NodeUsage(cpu_percent=12.5, memory_used_bytes=1 << 30),
                containers=[
                    ContainerStats(
                        container_id=str(one.pk),
                        cpu_percent=tick + 0.5,
                        memory_bytes=50 << 20,
                        memory_limit_bytes=512 << 20,
                        network_rx_bytes=tick * 1000,
                        network_tx_bytes=tick * 900,
                        block_read_bytes=4096,
                        block_write_bytes=8192,
                        pids=7,
                        disk_bytes=1 << 20,
                        cpu_seconds_total=tick * 1.25,
                        started_at=started_at,
                    )
                    for one in made[n::NODES]
                ],
            )
            for n in range(NODES)
        ]
        begun, used = time.perf_counter(), time.process_time()
        stats.take_in_all([(node.pk, report) for node, report in zip(nodes, reports, strict=True)])
        if tick:  # the first one warms up
            cpu.append(time.process_time() - used)
            wall.append(time.perf_counter() - begun)
    print(json.dumps({"cpu_seconds": median(cpu), "wall_seconds": median(wall)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
