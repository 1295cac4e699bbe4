"""Leases and periodic jobs under them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from lormas import celery as clockwork
from nodes import jobs, leases, tasks
from nodes.models import JobRun, Lease, Operation

COUNTED: list[str] = []


def count_one() -> dict[str, int]:
    COUNTED.append("ran")
    return {"count": len(COUNTED)}


def fail() -> None:
    raise RuntimeError("the disk is on fire")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two jobs of our own instead of the real ones."""
    COUNTED.clear()
    found = {
        "t.count": {"title": "Count", "run": f"{__name__}.count_one", "every_seconds": 60},
        "t.fail": {"title": "Fail", "run": f"{__name__}.fail", "every_seconds": 60},
    }
    monkeypatch.setattr("lormas.wiring.JOBS", found)
    return found


@pytest.mark.django_db
def test_a_lease_has_one_holder_and_each_taking_a_higher_number(clock_at: Any) -> None:
    """R22: who was paused past its end holds a number that counts for nothing."""
    first = leases.take("x", seconds=30)
    assert first is not None and leases.take("x", seconds=30) is None
    assert leases.holds("x", first)
    clock_at(seconds=31)
    assert not leases.holds("x", first)
    second = leases.take("x", seconds=30)
    assert second is not None and second > first
    assert not leases.holds("x", first) and not leases.renew("x", first, seconds=30) and not leases.give_back("x", first)
    assert leases.holds("x", second) and leases.renew("x", second, seconds=30) and leases.give_back("x", second)
    assert leases.take("x", seconds=30) is not None


@pytest.mark.django_db(transaction=True)
def test_many_beats_at_a_time_run_a_job_once(table: Any) -> None:
    """R26: the effect is once, however many knock."""
    barrier = threading.Barrier(6)

    def knock() -> None:
        try:
            barrier.wait(10)
            tasks.run_job("t.count")
        finally:
            connection.close()

    threads = [threading.Thread(target=knock) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert COUNTED == ["ran"]
    assert list(JobRun.objects.values_list("status", flat=True)) == ["succeeded"]


@pytest.mark.django_db
def test_a_second_beat_within_the_period_does_nothing_and_one_after_it_does(table: Any, clock_at: Any) -> None:
    """R26."""
    assert tasks.run_job("t.count") == "succeeded"
    assert tasks.run_job("t.count") == "skipped"
    clock_at(seconds=61)
    assert tasks.run_job("t.count") == "succeeded"
    assert len(COUNTED) == 2


@pytest.mark.django_db
def test_a_job_that_fails_is_in_the_history_and_the_next_one_runs(table: Any, clock_at: Any) -> None:
    """R40: nothing is held up."""
    made = jobs.run("t.fail")
    assert made is not None and (made.status, made.error) == ("failed", "RuntimeError: the disk is on fire")
    clock_at(seconds=61)
    assert jobs.run("t.fail") is not None
    assert jobs.run("t.count") is not None


@pytest.mark.django_db
def test_a_run_whose_process_died_is_told_as_abandoned_when_the_lease_is_taken_over(table: Any, clock_at: Any) -> None:
    """R25."""
    fence = leases.take("job:t.count", seconds=300)
    dead = JobRun.objects.create(job="t.count", fence=fence or 0, started_at="2026-01-01T00:00:00Z")
    assert jobs.run("t.count", trigger="person") is None, "it may be alive still"
    clock_at(seconds=301)
    assert jobs.run("t.count", trigger="person") is not None
    dead.refresh_from_db()
    assert dead.status == "abandoned"


@pytest.mark.django_db
def test_a_dead_beat_shows_in_health(table: Any, clock_at: Any, api: Any, root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """R26: degraded after two periods."""
    assert jobs.beat_problem(10) is None and "no periodic job has run yet" in str(jobs.beat_problem(1000))
    jobs.run("t.count")
    assert jobs.beat_problem(1000) is None
    assert api(root).get("/api/health").json()["status"] == "ok"
    clock_at(seconds=200)
    assert "is the worker with beat running" in str(jobs.beat_problem(1000))
    body = api(root).get("/api/health").json()
    assert body["status"] == "degraded"


@pytest.mark.django_db
@pytest.mark.redis
def test_run_now_and_history_are_for_those_who_may(
    table: Any, api: Any, root: Any, olga: Any, alice: Any, django_capture_on_commit_callbacks: Any
) -> None:
    assert api(alice).get("/api/jobs").status_code == 403
    assert api(olga).get("/api/jobs").status_code == 200
    assert api(olga).post("/api/jobs/t.count/run").status_code == 403
    assert api(root).post("/api/jobs/t.nothing/run").status_code == 404
    answer = api(root).post("/api/jobs/t.count/run")
    assert answer.status_code == 202, answer.content
    operation = Operation.objects.get(pk=answer.json()["operation"]["id"])
    made = jobs.run("t.count", trigger="person", actor_label="Root", operation_id=operation.pk)
    operation.refresh_from_db()
    assert made is not None and (operation.status, operation.result) == ("succeeded", {"count": 1})
    (row,) = api(root).get("/api/jobs/t.count/runs").json()["results"]
    assert (row["trigger"], row["status"], row["result"]) == ("person", "succeeded", {"count": 1})
    listed = {job["name"]: job for job in api(olga).get("/api/jobs").json()}
    assert listed["t.count"]["last"]["status"] == "succeeded" and listed["t.fail"]["last"] is None


@pytest.mark.django_db
def test_run_now_is_refused_while_it_runs(table: Any, api: Any, root: Any) -> None:
    leases.take("job:t.count", seconds=60)
    answer = api(root).post("/api/jobs/t.count/run")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_running")


def test_the_real_table_has_the_periods_that_were_promised() -> None:
    table = jobs.table()
    periods = {name: (job.every_seconds, job.at) for name, job in table.items()}
    assert periods["nodes.sync"] == (300, "") and periods["nodes.health"] == (120, "") and periods["nodes.orphans"] == (3600, "")
    assert periods["nodes.rotation"][1] == "01:00" and periods["nodes.cleanup"][1] == "02:00"
    scheduled = {entry["args"][0] for entry in clockwork.app.conf.beat_schedule.values() if entry["task"] == "nodes.tasks.run_job"}
    assert scheduled == set(table)


@pytest.mark.django_db
def test_every_real_job_runs_on_an_empty_panel() -> None:
    for name in jobs.table():
        if name.startswith("nodes."):
            made = jobs.run(name)
            assert made is not None and made.status == "succeeded", (name, made.error if made else "")
    assert Lease.objects.filter(held_until__isnull=False).count() == 0
