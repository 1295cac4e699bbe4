"""Schedules: what they may be, when they run, what a run does; of each moment one run, with the rights of who answers for it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from audit.models import Entry
from audit.services import SYSTEM, record
from containers.models import Container, ContainerUserGrant, Schedule, ScheduleRun, StatsMinute
from containers.schedule_rules import next_runs
from containers.services import remove, scheduleruns, schedules, scheduletime
from containers.services.publish import target
from lormas.common import clock, live
from lormas.common.errors import Conflict, Forbidden
from nodes.models import Command

pytestmark = pytest.mark.django_db

WAIT = {"kind": "wait", "seconds": 60}
STOP = {"kind": "power", "action": "stop"}


@pytest.fixture
def plan(running: Container, alice: Any) -> Any:
    """`plan(steps, ...)`: a schedule of alice's running container."""

    def make(*steps: dict[str, Any], name: str = "nightly", **fields: Any) -> Schedule:
        given = {"name": name, "cron": "0 4 * * *", "steps": list(steps) or [STOP], **fields}
        return schedules.add(running, user=alice, actor=alice.as_actor(), given=given)

    return make


def due(schedule: Schedule, *, seconds_ago: float = 5) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(next_at=clock.now() - timedelta(seconds=seconds_ago))


def at(container: Any, *more: Any) -> str:
    return "/".join(["/api/containers", str(container.pk), "schedules", *map(str, more)])


def runs(schedule: Schedule) -> list[tuple[str, str]]:
    return list(schedule.runs.order_by("created_at").values_list("state", "problem"))


# --------------------------------------------------------------------------------------------------------------- the clock


def test_times_are_those_of_the_owner_through_daylight_saving() -> None:
    """4:30 in Berlin is 2:30 UTC in summer and 3:30 in winter; 2:30 of the night that has none is run once."""
    found = next_runs("30 4 * * *", "Europe/Berlin", after=datetime(2026, 10, 23, 12, tzinfo=UTC), count=3)
    assert [time.hour for time in found] == [2, 3, 3]
    spring = next_runs("30 2 * * *", "Europe/Berlin", after=datetime(2026, 3, 28, 12, tzinfo=UTC), count=2)
    assert [(time.day, time.hour) for time in spring] == [(29, 1), (30, 0)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 31 2 *"}, "cron"),
        ({"cron": "* * * * * *"}, "cron"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"steps": []}, "steps"),
        ({"steps": [WAIT] * 11}, "steps"),
        ({"steps": [{"kind": "delete"}]}, "steps.0.kind"),
        ({"steps": [{"kind": "power", "action": "purge"}]}, "steps.0.action"),
        ({"steps": [{"kind": "command", "command": "a\nb"}]}, "steps.0.command"),
        ({"steps": [{"kind": "wait", "seconds": 0}]}, "steps.0.seconds"),
        ({"steps": [{**WAIT, "offset_seconds": "5"}]}, "steps.0.offset_seconds"),
        ({"steps": [{**WAIT, "host": "x"}]}, "steps.0.host"),
        ({"trigger": "state", "when": {"status": "happy"}}, "when.status"),
        ({"trigger": "log", "when": {"pattern": "x"}}, "when.pattern"),
        ({"trigger": "resource", "when": {"resource": "gpu", "above": 50}}, "when.resource"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_field_that_is_wrong(alice_api: Any, running: Container, change: dict[str, Any], field: str) -> None:
    body = {"name": "x", "cron": "0 4 * * *", "steps": [WAIT], **change}
    answer = alice_api.post(at(running), body, format="json")
    assert answer.status_code == 400, answer.content
    assert any(error["field"].startswith(field) for error in answer.json()["errors"]), answer.json()
    assert not Schedule.objects.exists()


def test_it_is_made_shown_changed_and_removed(alice_api: Any, bob_api: Any, running: Container, make: Any) -> None:
    """D02"""
    answer = alice_api.post(at(running), {"name": "nightly", "cron": "30 4 * * *", "timezone": "Europe/Berlin", "steps": [STOP, WAIT]}, format="json")
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert len(made["next_runs"]) == 5 and "04:30" in made["words"] and made["author"] == "Alice"
    one = at(running, made["id"])
    assert alice_api.post(at(running), {"name": "nightly", "cron": "* * * * *", "steps": [WAIT]}, format="json").json()["code"] == "name_taken"
    assert alice_api.patch(one, {"is_enabled": False}, format="json").json()["next_runs"] == []
    assert bob_api.get(one).status_code == 404
    other, _ = make("other")
    assert alice_api.get(at(other, made["id"])).status_code == 404
    assert alice_api.delete(one).status_code == 204 and alice_api.get(at(running)).json() == []


def test_there_are_so_many_and_no_more(running: Container, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MOST_PER_CONTAINER", 1)
    plan()
    with pytest.raises(Conflict, match="remove one first"):
        plan(name="another")


# -------------------------------------------------------------------------------------------------------------------- runs


def test_a_due_one_runs_once_whoever_looks_how_often(running: Container, plan: Any) -> None:
    """M7, R22: two workers look at the same moment, and one that was paused comes back with what it had read."""
    one = plan(WAIT)
    due(one)
    moment = Schedule.objects.get().next_at
    assert scheduletime.by_the_clock() == 1
    assert scheduletime.by_the_clock() == 0
    Schedule.objects.filter(pk=one.pk).update(next_at=moment)  # a rival's stale look
    ScheduleRun.objects.update(state="succeeded")
    assert scheduletime.by_the_clock() == 0 and len(runs(one)) == 1
    assert Schedule.objects.get().next_at > clock.now()


def test_a_missed_run_is_left_out_or_run_once(running: Container, plan: Any) -> None:
    left, once = plan(WAIT, name="left"), plan(WAIT, name="once", missed="once")
    for one in (left, once):
        due(one, seconds_ago=3 * 3600)
    assert scheduletime.by_the_clock() == 1
    assert runs(left)[0][0] == "skipped" and "missed" in runs(left)[0][1]
    assert runs(once) == [("running", "")]


def test_it_is_skipped_while_the_run_before_goes_on_or_nothing_runs(running: Container, plan: Any) -> None:
    one, only = plan(WAIT), plan(WAIT, name="only", only_when_running=True)
    assert scheduleruns.begin(one, key="a", cause="") and not scheduleruns.begin(one, key="b", cause="")
    Container.objects.update(observed="exited", status="stopped")
    assert not scheduleruns.begin(Schedule.objects.get(pk=only.pk), key="a", cause="")
    assert [state for state, _ in runs(one)] == ["running", "skipped"] and runs(only)[0][0] == "skipped"


def test_steps_run_in_order_and_wait_for_what_they_began(running: Container, plan: Any, agent: Any, time_machine: Any) -> None:
    one = plan(STOP, {**WAIT, "offset_seconds": 30}, {"kind": "power", "action": "start"})
    assert scheduleruns.begin(one, key="a", cause="")
    run = ScheduleRun.objects.get()

    def go_on(seconds: float) -> list[str]:
        time_machine.shift(seconds)
        scheduleruns.advance_due()
        run.refresh_from_db()
        return [step["state"] for step in run.steps]

    time_machine.move_to(clock.now(), tick=False)
    scheduleruns.advance(str(run.pk))
    assert go_on(5) == ["running", "waiting", "waiting"], "its operation runs"
    agent.done(running, "exited", exit_code=0)
    assert go_on(5) == ["succeeded", "waiting", "waiting"], "the offset passes"
    assert go_on(31) == ["succeeded", "running", "waiting"]
    assert go_on(61) == ["succeeded", "succeeded", "running"]
    assert Command.objects.filter(kind="container.start").count() == 1
    agent.done(running, "running")
    assert go_on(5) == ["succeeded"] * 3 and run.state == "succeeded" and run.finished_at


def test_a_step_that_fails_ends_the_run_unless_it_says_to_go_on(running: Container, plan: Any, agent: Any) -> None:
    Container.objects.update(status="crashed", observed="exited")
    pause = {"kind": "command", "command": "save-all"}  # its node is not there: it fails
    for name, goes_on in (("ends", False), ("goes on", True)):
        one = plan({**pause, "continue_on_failure": goes_on}, {"kind": "wait", "seconds": 1, "continue_on_failure": False}, name=name)
        scheduleruns.begin(one, key="a", cause="")
        scheduleruns.advance(str(one.runs.get().pk))
    ended, going = (Schedule.objects.get(name=name).runs.get() for name in ("ends", "goes on"))
    assert (ended.state, [s["state"] for s in ended.steps]) == ("failed", ["failed", "skipped"]) and "Step 1" in ended.problem
    assert (going.state, [s["state"] for s in going.steps]) == ("running", ["failed", "running"])


def test_an_act_whose_worker_died_amid_it_is_not_done_twice(running: Container, plan: Any) -> None:
    """R04"""
    one = plan(STOP)
    scheduleruns.begin(one, key="a", cause="")
    run = ScheduleRun.objects.get()
    run.steps[0] |= {"state": "running", "started_at": clock.rfc3339(clock.now())}
    ScheduleRun.objects.update(steps=run.steps, claimed_until=clock.now() - timedelta(seconds=1))
    scheduleruns.advance_due()
    run.refresh_from_db()
    assert run.state == "failed" and "not known" in run.problem and not Command.objects.filter(kind="container.stop").exists()


def test_two_workers_never_advance_one_run_together(running: Container, plan: Any) -> None:
    one = plan(STOP)
    scheduleruns.begin(one, key="a", cause="")
    ScheduleRun.objects.update(claimed_until=clock.now() + timedelta(seconds=60))
    assert not scheduleruns.advance(str(one.runs.get().pk)) and scheduleruns.advance_due() == 0


# ------------------------------------------------------------------------------------------------------------------ rights


def test_nobody_schedules_what_they_may_not_do(running: Container, root: Any, bob: Any) -> None:
    """C13: checked when it is made, when it is run by hand, and again when it runs."""
    from tests.rights.conftest import give

    def grant(*rights: str) -> User:
        ContainerUserGrant.objects.filter(user=bob).delete()
        give(root, running, bob, "containers.view", "containers.schedules", *rights)
        return User.objects.select_related("role").get(pk=bob.pk)

    given = {"name": "x", "cron": "0 4 * * *", "steps": [STOP, {"kind": "backup"}]}
    with pytest.raises(Forbidden, match=r"containers\.backups, containers\.stop"):
        schedules.add(running, user=grant(), actor=SYSTEM, given=given)
    one = schedules.add(running, user=grant("containers.stop", "containers.backups"), actor=SYSTEM, given=given)
    with pytest.raises(Forbidden):
        scheduleruns.run_now(one, user=grant(), actor=SYSTEM)
    scheduleruns.begin(Schedule.objects.select_related("container", "author").get(), key="a", cause="")
    scheduleruns.advance(str(one.runs.get().pk))
    assert runs(one)[0][0] == "failed" and "rights" in runs(one)[0][1]
    assert not Command.objects.filter(kind="container.stop").exists()


def test_it_ends_with_the_account_of_its_author_and_sleeps_in_the_trash(running: Container, plan: Any, alice: Any, agent: Any) -> None:
    one = plan(STOP)
    scheduleruns.begin(one, key="a", cause="")
    User.objects.filter(pk=alice.pk).update(is_active=False)
    scheduleruns.advance(str(one.runs.get().pk))
    assert "gone" in runs(one)[0][1]
    User.objects.filter(pk=alice.pk).update(is_active=True)
    remove.delete_container(running, user=alice, actor=SYSTEM)
    due(one)
    assert scheduletime.by_the_clock() == 0
    agent.done(running, "exited")
    remove.purge_container(running, user=alice, actor=SYSTEM)
    with suppress(Container.DoesNotExist):
        agent.done(running, "removed")
    assert not Schedule.objects.exists()


# ---------------------------------------------------------------------------------------------------------------- triggers


def test_a_crash_runs_it_once(running: Container, plan: Any) -> None:
    one = plan(WAIT, trigger="crash")
    assert scheduletime.look()["begun"] == 0
    record("containers.crashed", actor=SYSTEM, target=target(running), message="It ended with code 1.")
    assert [scheduletime.look()["begun"] for _ in range(2)] == [1, 0]
    assert one.runs.get().cause == "It ended with code 1."


def test_a_state_that_begins_after_it_was_made_runs_it_once(running: Container, plan: Any) -> None:
    Container.objects.update(status="stopped")
    running.refresh_from_db()
    plan(WAIT, trigger="state", when={"status": "stopped"})
    assert scheduletime.look()["begun"] == 0, "it was so already"
    Container.objects.update(status="running", status_since=clock.now())
    assert scheduletime.look()["begun"] == 0
    Container.objects.update(status="stopped", status_since=clock.now())
    assert [scheduletime.look()["begun"] for _ in range(2)] == [1, 0]


def test_much_memory_for_minutes_runs_it_until_it_was_well_again(running: Container, plan: Any, time_machine: Any) -> None:
    plan(WAIT, trigger="resource", when={"resource": "memory", "above": 90, "minutes": 2})
    time_machine.move_to(clock.now(), tick=False)  # no minute ends amid this
    now = clock.now().replace(second=0, microsecond=0)

    def used(percent: int) -> None:
        StatsMinute.objects.all().delete()
        for ago in (1, 2):
            bytes_used = running.memory_bytes * percent // 100
            StatsMinute.objects.create(subject_id=running.pk, minute=now - timedelta(minutes=ago), count=1, memory_sum=bytes_used)

    def looked() -> int:
        ScheduleRun.objects.update(state="succeeded")
        return scheduletime.look()["begun"]

    used(50)
    assert looked() == 0
    used(95)
    assert [looked(), looked()] == [1, 0]
    used(50)
    assert looked() == 0
    ScheduleRun.objects.all().delete()
    used(99)
    assert looked() == 1


# ------------------------------------------------------------------------------------------------------------------- pages


def test_pages_make_show_run_and_remove_them_without_script(alice: Any, running: Container) -> None:
    browser = Client()
    browser.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    here = f"/containers/{running.pk}/schedules"
    assert "Nothing is scheduled" in browser.get(here).content.decode()
    form = {"name": "nightly", "is_enabled": "on", "trigger": "cron", "cron": "30 4 * *", "timezone": "UTC", "missed": "skip"}
    steps = {"act-0": "stop", "act-1": "wait", "text-1": "60", "act-2": "backup", "text-2": "night", "offset-2": "10", "goes_on-2": "1"}
    wrong = browser.post(f"{here}/new", {**form, **steps})
    assert wrong.status_code == 400 and "Five fields" in wrong.content.decode() and 'value="night"' in wrong.content.decode()
    assert browser.post(f"{here}/new", {**form, **steps, "cron": "30 4 * * *"}).status_code == 302
    one = Schedule.objects.get()
    assert [step["kind"] for step in one.steps] == ["power", "wait", "backup"] and one.steps[2]["continue_on_failure"]
    assert "04:30" in browser.get(f"{here}/{one.pk}").content.decode()
    assert browser.post(f"{here}/{one.pk}/run").status_code == 302 and one.runs.count() == 1
    assert "By Alice" in browser.get(f"{here}/{one.pk}").content.decode()
    assert browser.post(f"{here}/{one.pk}/off").status_code == 302 and not Schedule.objects.get().is_enabled
    assert browser.post(f"{here}/{one.pk}/remove").status_code == 302 and not Schedule.objects.exists()


def test_a_trigger_that_was_just_made_sees_the_first_line_after_it(running: Container, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written between its making and the first look, 20 s later, begins a run; what was written before does not. So of a changed one."""
    lines = [[1, "2026-01-01T00:00:00Z", "application", "Done, old"]]

    def node(_node: Any, _kind: str, *, payload: dict[str, Any], **_rest: Any) -> dict[str, Any]:
        after, word = payload.get("after", -1), payload.get("search", "")
        return {"lines": [line for line in lines if line[0] > after and word in str(line[3])], "last_seq": lines[-1][0], "more": False}

    monkeypatch.setattr(live, "ask_node", node)
    made = plan(trigger="log", when={"pattern": "Done"})
    lines.append([2, "2026-01-01T00:00:01Z", "application", "Done, new"])
    assert scheduletime.look()["begun"] == 1
    assert (made.runs.get().key, made.runs.get().cause) == ("log:2", "It wrote: Done, new")
    made.runs.all().delete()
    schedules.change(made, user=made.author, actor=SYSTEM, given={"when": {"pattern": "Stop"}})
    lines.append([3, "2026-01-01T00:00:02Z", "application", "Stopping? Stop"])
    assert scheduletime.look()["begun"] == 1
    assert made.runs.get().key == "log:3"


class Told:
    """A node as `live.ask_node` knows it: its lines; how it answers a search."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines = [[1, "2026-01-01T00:00:00Z", "application", "old"]]
        self.searches: list[tuple[Any, str]] = []
        self.trouble: Exception | None = None
        monkeypatch.setattr(live, "ask_node", self.ask)

    def ask(self, node: Any, _kind: str, *, payload: dict[str, Any], **_rest: Any) -> dict[str, Any]:
        after, word = payload.get("after", -1), payload.get("search", "")
        before = payload.get("before", -1)
        if word:
            self.searches.append((node, word))
        if self.trouble is not None and (word or isinstance(self.trouble, live.NodeTimeout)):
            raise self.trouble
        found = [line for line in self.lines if line[0] > after and (before < 0 or line[0] < before) and word in str(line[3])]
        return {"lines": found, "last_seq": self.lines[-1][0], "more": False}

    def write(self, text: str) -> None:
        self.lines.append([self.lines[-1][0] + 1, "2026-01-01T00:00:01Z", "application", text])


def test_a_pattern_that_is_too_slow_time_after_time_switches_its_schedule_off_and_says_why(
    running: Container, alice: Any, plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J11: as with alerts. It goes on when it is changed and switched on."""
    told = Told(monkeypatch)
    made = plan(trigger="log", when={"pattern": "regex:(a+)+$"})
    slow = live.NodeRefused("timeout", "The search took too long: use a simpler pattern or a shorter time.")
    for number in range(6):
        told.write(f"aaaa! {number}")
        told.trouble = slow if number != 2 else None  # in time once: it is counted from there
        scheduletime.look()
    made.refresh_from_db()
    assert made.is_enabled and made.memory["slow"] == 3
    for _ in range(3):
        told.write("aaaa!")
        scheduletime.look()
    made.refresh_from_db()
    assert not made.is_enabled and len(told.searches) == 8, "it is not asked for any more"
    assert [run[0] for run in runs(made)] == ["skipped"] and "took its node too long 5 times in a row" in runs(made)[0][1]
    assert Entry.objects.get(action="containers.schedule_paused").after == {"schedule": "nightly"}
    browser = Client()
    browser.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    assert "took its node too long" in browser.get(f"/containers/{running.pk}/schedules/{made.pk}").content.decode()
    told.trouble = None
    schedules.change(made, user=alice, actor=SYSTEM, given={"when": {"pattern": "a!"}, "is_enabled": True})
    told.write("aaaa! now")
    assert scheduletime.look()["begun"] == 1
    assert made.runs.order_by("-created_at").first().cause == "It wrote: aaaa! now"


def test_a_silent_node_costs_a_look_one_question_and_nothing_waits_behind_it(running: Container, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question to it takes ten seconds: five schedules that wait for a line would hold up those by the clock, and runs that go on."""
    told = Told(monkeypatch)
    waits = [plan(name=f"w{number}", trigger="log", when={"pattern": "Done"}) for number in range(5)]
    clocked = plan(WAIT, name="clock")
    due(clocked)
    told.write("Done")
    told.trouble = live.NodeTimeout()
    asked: list[str] = []
    whole = told.ask

    def ask(node: Any, kind: str, **fields: Any) -> dict[str, Any]:
        asked.append(clocked.runs.get().steps[0]["state"])
        return whole(node, kind, **fields)

    monkeypatch.setattr(live, "ask_node", ask)
    assert scheduletime.look()["begun"] == 1
    assert asked == ["running"], "the one by the clock went on before anybody waited for the node"
    told.trouble = None
    assert scheduletime.look()["begun"] == 5, "nothing was lost meanwhile"
    assert {one.runs.get().cause for one in waits} == {"It wrote: Done"}


def test_what_could_not_be_searched_in_time_is_not_passed_over(running: Container, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node says that there is more, and found nothing until then: it is asked for a part."""
    told = Told(monkeypatch)
    made = plan(trigger="log", when={"pattern": "Done"})
    told.write("Done")
    whole = told.ask

    def hurried(node: Any, kind: str, *, payload: dict[str, Any], **rest: Any) -> dict[str, Any]:
        if payload.get("search") and payload.get("before", -1) < 0:
            return {"lines": [], "last_seq": told.lines[-1][0], "more": True}
        return whole(node, kind, payload=payload, **rest)

    monkeypatch.setattr(live, "ask_node", hurried)
    assert scheduletime.look()["begun"] == 1 and made.runs.get().key == "log:2"
