"""A list of 50 among 10,000 and 100,000 containers: time and number of queries, as an administrator, as a member who owns 60 of
them, and as one who owns none and was granted 60."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from bench.figures import Figure, median

SIZES = (10_000, 100_000)
OWNED = 60


def measure(*, quick: bool) -> list[Figure]:
    """In a process of its own, so that its settings and database are its own."""
    sizes = (1_000, 10_000) if quick else SIZES
    with tempfile.TemporaryDirectory(prefix="lormas-bench-") as folder:
        env = {**os.environ, "LORMAS_DATA": folder, "LOG_LEVEL": "error", "SECRET_KEY": "bench-bench-bench-bench-bench-bench-bench-bench-1"}
        done = subprocess.run(
            [sys.executable, "-m", "bench.lists", *map(str, sizes)], env=env, capture_output=True, text=True, timeout=900, check=False
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    rows = json.loads(done.stdout.strip().splitlines()[-1])
    figures = []
    for who in ("administrator", "member", "granted"):
        small, large = (next(row for row in rows if row["who"] == who and row["size"] == size) for size in sizes)
        figures.append(
            Figure(
                f"list of 50 among {sizes[1]:,} containers, {who}", large["ms"], "ms", f"among {sizes[0]:,}", small["ms"], "<= 2x",
                large["ms"] <= 2 * small["ms"],
            )
        )  # fmt: skip
        figures.append(
            Figure(
                f"queries for that list, {who}",
                large["queries"],
                "queries",
                f"among {sizes[0]:,}",
                small["queries"],
                "the same",
                large["queries"] == small["queries"],
            )
        )
    return figures


def _fill(size: int, *, smallest: int, owner: Any, others: list[Any], node: Any) -> None:
    from containers.models import Container, Port

    have = Container.objects.count()
    batch: list[Container] = []

    def save() -> None:
        Container.objects.bulk_create(batch)
        Port.objects.bulk_create(
            Port(container=container, node=node, container_port=80, host_port=int(container.name[1:]) + 1, is_primary=True) for container in batch
        )
        batch.clear()

    for index in range(have, size):
        mine = index % (smallest // OWNED) == 0 and index < smallest
        batch.append(
            Container(
                name=f"c{index}",
                owner=owner if mine else others[index % len(others)],
                node=node,
                image="busybox",
                status="running",
                observed="running",
                desired="running",
            )
        )
        if len(batch) == 2_000:
            save()
    if batch:
        save()


def main(sizes: list[int]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from rest_framework.test import APIClient

    from accounts import grants
    from accounts.granting import give
    from accounts.models import Role, User
    from accounts.seeding import seed_roles
    from containers.models import Container
    from nodes.models import Node

    settings.ALLOWED_HOSTS = ["*"]
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    call_command("migrate", verbosity=0)
    seed_roles()
    roles = {role.slug: role for role in Role.objects.all()}
    member = User.objects.create_user("member@example.org", None, username="member", role=roles["member"])
    admin = User.objects.create_superuser("admin@example.org", None, username="root", role=roles["administrator"])
    granted = User.objects.create_user("granted@example.org", None, username="granted", role=roles["member"])
    others = User.objects.bulk_create(
        User(email=f"u{index}@example.org", username=f"u{index}", role=roles["member"], password="!") for index in range(500)
    )
    node = Node.objects.create(name="bench", port_first=1, port_last=200_000)
    rows = []
    for size in sizes:
        _fill(size, smallest=sizes[0], owner=member, others=others, node=node)
        if size == sizes[0]:
            for container in Container.objects.exclude(owner=member).order_by("pk")[:OWNED]:
                give(admin, grants.kind("container"), container, user=granted, permissions=["containers.view"], actor=admin.as_actor())
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        for who, user in (("administrator", admin), ("member", member), ("granted", granted)):
            client = APIClient()
            client.force_authenticate(user)  # the same for both sizes, and not what is measured
            times = []
            for turn in range(23):
                begun = time.perf_counter()
                with CaptureQueriesContext(connection) as queries:
                    answer = client.get("/api/containers?page_size=50", headers={"accept": "application/json"})
                if answer.status_code != 200 or len(answer.json()["results"]) != 50:
                    raise SystemExit(f"{answer.status_code}: {answer.content[:300]!r}")
                if turn >= 3:
                    times.append((time.perf_counter() - begun) * 1000)
            rows.append({"who": who, "size": size, "ms": round(median(times), 2), "queries": len(queries.captured_queries)})
    print(json.dumps(rows))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
