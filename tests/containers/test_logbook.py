"""Logs over many containers, of those that are gone, as gzip; levels, saved searches, alerts, what happens at night."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import Client
from rest_framework.test import APIClient

from agent.logs.query import BUDGET_SECONDS, answer, plan, run
from agent.logs.store import ContainerLog
from agent.protocol.commands import LogsQuery
from audit.models import Entry
from audit.services import SYSTEM
from containers import logs
from containers.loglevels import at_least, detect
from containers.models import Container, KeptLog, LogAlert
from containers.services import act, delete_container, logkeeping, logwatch
from lormas import systemlog
from lormas.common import clock, live
from lormas.common.errors import Conflict, NodeSilent, NodeUnavailable, Refused
from nodes.commands import payload_of
from nodes.models import Node
from nodes.services import register_node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def api(user: Any) -> APIClient:
    made = APIClient()
    made.force_authenticate(user)
    return made


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("2026-01-01T10:00:00Z INFO server started", "info"),
        ("[12:00:01] [Server thread/WARN]: Can't keep up", "warn"),
        ("ERROR: relation does not exist", "error"),
        ('{"level":"warning","msg":"slow"}', "warn"),
        ('time=1 level=debug msg="x"', "debug"),
        ("\x1b[31m[error]\x1b[0m upstream timed out", "error"),
        ("Traceback (most recent call last):", "error"),
        ("ValueError: no", "error"),
        ("no error was found in the information", ""),
        ("hello", ""),
    ],
)
def test_a_lines_level_is_told_from_its_text(text: str, level: str) -> None:
    assert detect(text) == level
    assert at_least("panic: boom", "error") and at_least("hello", "info") and not at_least("hello", "warn")


class Nodes:
    """The agent's own store and search, one folder a container; `away` ones can't be asked, `silent` nodes don't answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores: dict[str, ContainerLog] = {}
        self.away: set[str] = set()
        self.silent: set[Any] = set()
        self.asked: list[tuple[Any, LogsQuery]] = []
        self.budget_seconds = BUDGET_SECONDS
        self.lives = 0
        self.before: Callable[[], None] | None = None
        """Called once, before the next answer."""

    def store(self, container: Any) -> ContainerLog:
        if str(container.pk) not in self.stores:
            self.stores[str(container.pk)] = ContainerLog(self.folder / f"{container.pk}-{self.lives}")
            self.stores[str(container.pk)].open()
        return self.stores[str(container.pk)]

    def write(self, container: Any, *texts: str, stream: str = "application") -> None:
        store = self.store(container)
        store.append([(f"2026-01-01T00:00:{store.last_seq % 60:02}.{len(text):06}Z", stream, text) for text in texts])

    def begin_anew(self, container: Any) -> None:
        """As on a node whose disk was lost."""
        del self.stores[str(container.pk)]
        self.lives += 1

    def read(self, container: Any, query: LogsQuery) -> dict[str, Any]:
        self.asked.append((container.pk, query))
        if self.before is not None:
            act, self.before = self.before, None
            act()
        if str(container.pk) in self.away:
            raise NodeUnavailable("Node is not connected.")
        if container.node_id in self.silent:
            raise NodeSilent("It did not answer within 10 s.")
        wish = msgspec.structs.replace(plan(self.store(container), query), budget_seconds=self.budget_seconds)
        return answer(wish, run(wish))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Nodes:
    made = Nodes(tmp_path / "logs")
    monkeypatch.setattr(logs, "read", made.read)
    monkeypatch.setattr(logs, "end_of", lambda container: made.store(container).last_seq)
    return made


def test_one_search_over_all_that_one_may_read_tells_whom_it_could_not_ask(make: Any, agent: Any, alice: Any, bob: Any, nodes: Nodes) -> None:
    """D03, J11: so many lines and no more, and it says that there are others."""
    one, two, theirs, away = (make(name, user=user)[0] for name, user in (("one", alice), ("two", alice), ("theirs", bob), ("away", alice)))
    for container in (one, two, theirs, away):
        agent.done(container, "running")
    nodes.write(one, "INFO needle a", "hay")
    nodes.write(two, "ERROR needle bb")
    nodes.write(theirs, "needle ccc")
    nodes.away.add(str(away.pk))
    found = api(alice).get("/api/logs?search=needle").json()
    assert {(line["container"]["name"], line["text"]) for line in found["lines"]} == {("one", "INFO needle a"), ("two", "ERROR needle bb")}
    assert (found["asked"], [s["name"] for s in found["silent"]]) == (3, ["away"])
    bad = api(alice).get("/api/logs?search=needle&level=error&name=two").json()
    assert [line["level"] for line in bad["lines"]] == ["error"]
    few = api(alice).get("/api/logs?search=needle&limit=1").json()
    assert (len(few["lines"]), few["more"]) == (1, True)
    assert api(alice).get("/api/logs?search=needle&limit=100000").status_code == 400
    assert api(alice).get("/api/logs?level=loud").status_code == 400
    assert api(alice).get("/api/logs?nonsense=1").status_code == 400


def test_lines_carry_their_level_and_can_be_narrowed_by_it(running: Container, alice: Any, nodes: Nodes) -> None:
    nodes.write(running, "WARN careful", "INFO fine", "plain")
    told = api(alice).get(f"/api/containers/{running.pk}/logs").json()["lines"]
    assert [line["level"] for line in told] == ["warn", "info", ""]
    assert [line["text"] for line in api(alice).get(f"/api/logs/{running.pk}?level=warn").json()["lines"]] == ["WARN careful"]


def test_a_download_comes_as_text_or_as_gzip(running: Container, alice: Any, nodes: Nodes) -> None:
    nodes.write(running, "one", "two")
    plain = b"".join(api(alice).get(f"/api/containers/{running.pk}/logs/download").streaming_content)
    answer = api(alice).get(f"/api/containers/{running.pk}/logs/download?compress=gzip")
    assert answer["Content-Type"] == "application/gzip" and answer["Content-Disposition"].endswith('.log.gz"')
    assert gzip.decompress(b"".join(answer.streaming_content)) == plain and b"two" in plain
    assert api(alice).get(f"/api/containers/{running.pk}/logs/download?compress=zip").status_code == 400


def test_searches_are_saved_for_oneself(alice: Any, bob: Any) -> None:
    body = {"name": "errors", "query": {"search": "regex:time ?out", "level": "error"}}
    made = api(alice).post("/api/logs/filters", body, format="json")
    assert made.status_code == 201
    assert api(alice).post("/api/logs/filters", body, format="json").json()["code"] == "name_taken"
    assert [f["name"] for f in api(alice).get("/api/logs/filters").json()] == ["errors"]
    assert api(bob).get("/api/logs/filters").json() == []
    assert api(bob).delete(f"/api/logs/filters/{made.json()['id']}").status_code == 404
    assert api(alice).delete(f"/api/logs/filters/{made.json()['id']}").status_code == 204


def test_an_alert_fires_for_what_is_written_after_it_was_made_once_a_look(running: Container, alice: Any, bob: Any, nodes: Nodes) -> None:
    nodes.write(running, "out of memory, long ago")
    address = f"/api/containers/{running.pk}/log-alerts"
    assert api(bob).post(address, {"pattern": "memory"}, format="json").status_code == 404
    made = api(alice).post(address, {"pattern": "out of memory"}, format="json").json()
    assert [logwatch.watch_logs(), logwatch.watch_logs()] == [0, 0]
    nodes.write(running, "fine", "Out of memory 1", "out of memory 2")
    assert [logwatch.watch_logs(), logwatch.watch_logs()] == [1, 0]
    entry = Entry.objects.get(action="containers.log_alert")
    assert entry.message == "2 new lines with out of memory: out of memory 2"
    told = api(alice).get(address).json()[0]
    assert (told["matches"], told["matched_text"], told["problem"]) == (2, "out of memory 2", "")
    nodes.away.add(str(running.pk))
    assert logwatch.watch_logs() == 0
    assert LogAlert.objects.get().problem == "Node is not connected."
    assert api(alice).delete(f"{address}/{made['id']}").status_code == 204


def test_what_is_no_pattern_is_said_when_it_is_made(running: Container, alice: Any, nodes: Nodes) -> None:
    address = f"/api/containers/{running.pk}/log-alerts"
    answer = api(alice).post(address, {"pattern": "regex:("}, format="json")
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (400, ["pattern"])
    page = Client()
    page.force_login(alice)
    page.post(f"/containers/{running.pk}/alerts", {"pattern": "regex:["})
    schedule = {"name": "s", "trigger": "log", "when": {"pattern": "regex:("}, "steps": [{"kind": "wait", "seconds": 1}]}
    answer = api(alice).post(f"/api/containers/{running.pk}/schedules", schedule, format="json")
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (400, ["when.pattern"])
    assert not LogAlert.objects.exists()
    assert api(alice).post(address, {"pattern": "regex:out of (memory|disk)"}, format="json").status_code == 201


def watch(container: Container, pattern: str, **fields: Any) -> LogAlert:
    return LogAlert.objects.create(container=container, pattern=pattern, **{"seen_seq": 0, **fields})


def test_each_alert_gets_its_turn_however_many_there_are(running: Container, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three a round: the seventh is looked at in the third, and nobody twice before that."""
    monkeypatch.setattr(logwatch, "MOST", 3)
    for number in range(7):
        watch(running, f"needle {number}")
    nodes.write(running, *(f"needle {number}" for number in range(7)))
    assert [logwatch.watch_logs() for _ in range(4)] == [3, 3, 1, 0]
    assert sorted(LogAlert.objects.values_list("matches", flat=True)) == [1] * 7
    assert Entry.objects.filter(action="containers.log_alert").count() == 7


def test_a_round_that_takes_too_long_ends_and_the_next_begins_with_those_that_waited(
    running: Container, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logwatch, "ROUND_SECONDS", -1)
    watch(running, "needle")
    nodes.write(running, "needle")
    assert (logwatch.watch_logs(), nodes.asked) == (0, [])
    monkeypatch.setattr(logwatch, "ROUND_SECONDS", 45)
    assert logwatch.watch_logs() == 1


def test_a_node_that_does_not_answer_costs_a_round_one_question(
    make: Any, agent: Any, node: Node, running: Container, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other alerts say why and have had their turn; those of other nodes have theirs in the same round, though they were made later."""
    other, _ = register_node(name="node-2", actor=SYSTEM)
    Node.objects.filter(pk=other.pk).update(gateway="test")
    dumb = [watch(running, f"needle {number}") for number in range(5)]
    awake, _ = make("awake")
    agent.done(awake, "running")
    Container.objects.filter(pk=awake.pk).update(node=other)
    heard = watch(awake, "needle")
    nodes.write(running, *(f"needle {number}" for number in range(5)))
    nodes.write(awake, "needle")
    nodes.silent = {node.pk}
    assert logwatch.watch_logs() == 1
    assert [asked for asked, _ in nodes.asked].count(running.pk) == 1
    assert set(LogAlert.objects.filter(container=running).values_list("problem", flat=True)) == {"It did not answer within 10 s."}
    heard.refresh_from_db()
    assert heard.matches == 1
    assert LogAlert.objects.filter(looked_at=None).count() == 0
    nodes.silent.clear()
    assert logwatch.watch_logs() == 5, "nothing was lost meanwhile"
    assert set(LogAlert.objects.filter(pk__in=[one.pk for one in dumb]).values_list("problem", "matches")) == {("", 1)}


def test_a_node_that_is_gone_is_not_asked_and_the_alert_says_so(running: Container, nodes: Nodes) -> None:
    Node.objects.update(gateway="")
    watch(running, "needle")
    assert (logwatch.watch_logs(), nodes.asked) == (0, [])
    assert LogAlert.objects.get().problem == "Its node is not connected."
    Node.objects.update(gateway="test")
    logwatch.watch_logs()
    assert LogAlert.objects.get().problem == ""


def test_one_that_is_switched_off_is_not_looked_at(running: Container, alice: Any, nodes: Nodes) -> None:
    made = api(alice).post(f"/api/containers/{running.pk}/log-alerts", {"pattern": "needle", "is_enabled": False}, format="json")
    assert made.status_code == 201
    nodes.write(running, "needle")
    assert (logwatch.watch_logs(), nodes.asked) == (0, [])
    LogAlert.objects.update(is_enabled=True)
    assert logwatch.watch_logs() == 1


def test_a_container_has_no_more_than_twenty_also_if_a_rival_adds_the_last(
    running: Container, alice: Any, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J11"""
    address = f"/api/containers/{running.pk}/log-alerts"
    for number in range(19):
        watch(running, f"needle {number}")

    def rival(container: Container) -> int:
        watch(container, "the rival's")
        return 0

    monkeypatch.setattr(logs, "end_of", rival)
    with pytest.raises(Conflict):
        logwatch.add_alert(running, user=alice, actor=alice.as_actor(), pattern="too late")
    refused = api(alice).post(address, {"pattern": "needle"}, format="json")
    assert (refused.status_code, refused.json()["code"], LogAlert.objects.count()) == (409, "too_many", 20)
    LogAlert.objects.all()[0].delete()
    monkeypatch.setattr(logs, "end_of", lambda _container: 0)
    assert api(alice).post(address, {"pattern": "needle"}, format="json").status_code == 201


def test_a_log_that_was_begun_anew_is_read_from_now_on(running: Container, nodes: Nodes) -> None:
    nodes.write(running, "one", "two", "three")
    watch(running, "needle", seen_seq=3)
    nodes.begin_anew(running)
    nodes.write(running, "needle, of before anybody looked")
    assert (logwatch.watch_logs(), LogAlert.objects.get().seen_seq) == (0, 1)
    nodes.write(running, "needle")
    assert logwatch.watch_logs() == 1


def test_no_line_is_lost_or_told_twice_however_many_fit(running: Container, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one answer holds, more than one round reads, and lines that come between two questions."""
    monkeypatch.setattr(logwatch, "PAGE", 100)
    monkeypatch.setattr(logwatch, "PAGES", 3)
    watch(running, "needle")
    for number in range(350):
        nodes.write(running, f"needle {number}", "hay")
    nodes.write(running, "needle of Lormas itself", stream="events")
    assert logwatch.watch_logs() == 1
    assert Entry.objects.get(action="containers.log_alert").after == {"pattern": "needle", "lines": 300, "seq": 599}
    nodes.before = lambda: nodes.write(running, "needle, just now")
    assert [logwatch.watch_logs(), logwatch.watch_logs()] == [1, 0]
    told = LogAlert.objects.get()
    assert (told.matches, told.matched_text) == (351, "needle, just now")


def test_a_search_that_ends_before_its_time_goes_on_in_parts_and_loses_nothing(
    running: Container, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a line found, "there is more" says nothing of how far it came: the part that was not searched is not passed over."""
    monkeypatch.setattr(logwatch, "WINDOW", 1000)
    watch(running, "needle")
    nodes.write(running, *["hay"] * 2500, "needle")
    whole = nodes.read

    def slow(container: Container, query: LogsQuery) -> dict[str, Any]:
        nodes.budget_seconds = BUDGET_SECONDS if query.before >= 0 else -1
        return whole(container, query)

    monkeypatch.setattr(logs, "read", slow)
    assert logwatch.watch_logs() == 1
    told = LogAlert.objects.get()
    assert (told.matches, told.seen_seq, told.problem) == (1, 2501, "")
    nodes.write(running, "needle")
    monkeypatch.setattr(logs, "read", whole)
    nodes.budget_seconds = -1
    assert logwatch.watch_logs() == 0
    told.refresh_from_db()
    assert told.seen_seq == 2501 and "simpler pattern" in told.problem


def slow_pattern(monkeypatch: pytest.MonkeyPatch, nodes: Nodes, pattern: str) -> None:
    """What a node answers whose process for such a search was killed (tests/agent/logs/test_query.py has the real one)."""
    whole = nodes.read

    def read(container: Container, query: LogsQuery) -> dict[str, Any]:
        if query.search == pattern:
            nodes.asked.append((container.pk, query))
            raise Refused("The search took too long: use a simpler pattern or a shorter time.", code="timeout")
        return whole(container, query)

    monkeypatch.setattr(logs, "read", read)


def test_a_pattern_that_is_too_slow_time_after_time_is_paused_and_goes_on_when_it_is_changed(
    running: Container, alice: Any, bob: Any, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J11: it costs its node six seconds of a processor each minute for nothing. Others go on, and its page says why."""
    slow_pattern(monkeypatch, nodes, "regex:(a+)+$")
    slow, good = watch(running, "regex:(a+)+$"), watch(running, "needle")
    nodes.write(running, "aaaa!", "needle")
    for _ in range(logwatch.PAUSE_AFTER - 1):
        logwatch.watch_logs()
    slow.refresh_from_db()
    assert (slow.timeouts, slow.paused_at) == (logwatch.PAUSE_AFTER - 1, None) and "simpler pattern" in slow.problem
    logwatch.watch_logs()
    asked = len(nodes.asked)
    logwatch.watch_logs()
    assert [query.search for _, query in nodes.asked[asked:]] == ["needle"], "it is not asked for any more"
    slow.refresh_from_db()
    good.refresh_from_db()
    assert slow.paused_at is not None and (good.matches, good.paused_at) == (1, None)
    assert Entry.objects.get(action="containers.log_alert_paused").after == {"pattern": "regex:(a+)+$"}
    address = f"/api/containers/{running.pk}/log-alerts"
    assert "paused until it is changed" in api(alice).get(address).json()[0]["problem"]
    page = Client()
    page.force_login(alice)
    assert "Its pattern took its node too long" in page.get(f"/containers/{running.pk}/settings").content.decode()

    one = f"{address}/{slow.pk}"
    assert api(bob).patch(one, {"pattern": "a!"}, format="json").status_code == 404
    assert api(alice).patch(one, {"pattern": "regex:("}, format="json").status_code == 400
    assert api(alice).patch(f"{address}/{running.pk}", {"pattern": "a!"}, format="json").status_code == 404
    slow.refresh_from_db()
    assert slow.paused_at is not None, "what was refused changes nothing"
    changed = api(alice).patch(one, {"pattern": "regex:a!"}, format="json")
    assert (changed.status_code, changed.json()["paused_at"], changed.json()["problem"]) == (200, None, "")
    nodes.write(running, "aaaa! again")
    assert logwatch.watch_logs() == 1
    slow.refresh_from_db()
    assert (slow.matches, slow.matched_text, slow.timeouts) == (1, "aaaa! again", 0), "from now on"
    assert Entry.objects.filter(action="containers.log_alert_changed").count() == 1


def test_looks_that_were_in_time_or_not_the_patterns_fault_pause_nothing(
    running: Container, nodes: Nodes, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = watch(running, "regex:slow?")
    whole = nodes.read
    nodes.write(running, "slow")
    for _ in range(2):
        slow_pattern(monkeypatch, nodes, "regex:slow?")
        for _ in range(logwatch.PAUSE_AFTER - 1):
            logwatch.watch_logs()
        monkeypatch.setattr(logs, "read", whole)
        logwatch.watch_logs()
    alert.refresh_from_db()
    assert (alert.timeouts, alert.paused_at, alert.matches) == (0, None, 1), "not in a row"
    nodes.silent = {node.pk}
    for _ in range(logwatch.PAUSE_AFTER + 1):
        logwatch.watch_logs()
    alert.refresh_from_db()
    assert (alert.timeouts, alert.paused_at) == (0, None) and "did not answer" in alert.problem


@pytest.mark.parametrize("timeouts", [0, logwatch.PAUSE_AFTER - 1])
def test_what_is_changed_while_it_is_looked_at_is_not_blamed_for_what_it_was(
    running: Container, alice: Any, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, timeouts: int
) -> None:
    """The person is faster than the first, or the fifth, look's end."""
    alert = watch(running, "regex:(a+)+$", timeouts=timeouts)

    def read(container: Container, query: LogsQuery) -> dict[str, Any]:
        logwatch.change_alert(LogAlert.objects.select_related("container__node").get(), actor=alice.as_actor(), pattern="a!")
        raise Refused("The search took too long.", code="timeout")

    monkeypatch.setattr(logs, "read", read)
    logwatch.watch_logs()
    alert.refresh_from_db()
    assert (alert.pattern, alert.timeouts, alert.paused_at, alert.problem) == ("a!", 0, None, "")
    assert not Entry.objects.filter(action="containers.log_alert_paused").exists()


def test_the_page_changes_and_switches_off_without_a_script(running: Container, alice: Any, bob: Any, nodes: Nodes) -> None:
    page = Client()
    page.force_login(alice)
    alert = watch(running, "needle", paused_at=clock.now(), timeouts=5)
    address, settings = f"/containers/{running.pk}/alerts/{alert.pk}", f"/containers/{running.pk}/settings"
    assert page.post(address, {"pattern": "nail"}).status_code == 302
    assert list(LogAlert.objects.values_list("pattern", "is_enabled", "paused_at")) == [("nail", False, None)]
    assert "Switched off" in page.get(settings).content.decode()
    for wrong in ("regex:(", "x"):
        page.post(address, {"pattern": wrong, "on": "1"})
    assert not LogAlert.objects.get().is_enabled
    page.post(address, {"pattern": "nail", "on": "1"})
    assert LogAlert.objects.get().is_enabled and "Not seen yet." in page.get(settings).content.decode()
    page.force_login(bob)
    assert page.post(address, {"pattern": "theirs", "on": "1"}).status_code == 404


def test_of_two_workers_that_look_at_once_one_tells(running: Container, nodes: Nodes) -> None:
    """The rival has read and told while this one waits for its node's answer."""
    watch(running, "needle")
    nodes.write(running, "needle")
    rivals: list[int] = []
    nodes.before = lambda: rivals.append(logwatch.watch_logs())
    assert (logwatch.watch_logs(), rivals) == (0, [1])
    assert LogAlert.objects.get().matches == 1
    assert Entry.objects.filter(action="containers.log_alert").count() == 1


def test_a_log_outlives_its_container_for_its_owner_and_until_it_is_too_old(
    running: Container, alice: Any, bob: Any, root: Any, agent: Any, nodes: Nodes, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.write(running, "last words")
    delete_container(running, user=alice, actor=alice.as_actor(), force=True)
    assert payload_of(agent.open_command(running))["keep_logs"] is True
    from nodes import commands

    commands.settle(agent.open_command(running).pk, ok=True, data={})
    assert not Container.objects.exists()
    assert [k["name"] for k in api(alice).get("/api/logs/kept").json()["results"]] == ["web"]
    assert api(bob).get("/api/logs/kept").json()["results"] == []
    assert api(bob).get(f"/api/logs/kept/{running.pk}").status_code == 404
    assert [line["text"] for line in api(root).get(f"/api/logs/kept/{running.pk}").json()["lines"]] == ["last words"]
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(live, "ask_node", lambda _node, kind, *, payload, timeout_seconds: asked.append({"kind": kind, **payload}) or {"dropped": 2})
    assert logkeeping.rotate_logs() == 1 and asked[-1]["rotate"] is True
    assert logkeeping.expire_logs() == {"dropped": 2, "forgotten": 0}
    assert asked[-1]["older_than_seconds"] == 30 * 86400 and "forget" not in asked[-1]
    KeptLog.objects.update(deleted_at=clock.now() - timedelta(days=31))
    assert logkeeping.expire_logs()["forgotten"] == 1
    assert asked[-1]["forget"] == [str(running.pk)] and not KeptLog.objects.exists()


def test_the_panels_own_log_is_moved_aside_each_night(tmp_path: Path) -> None:
    file = tmp_path / "system.log"
    for day in range(20):
        (tmp_path / f"system.log.2025-12-{day + 1:02}.gz").write_bytes(b"old")
    (tmp_path / "system.log.2025-12-30").write_bytes(b"yesterday")
    file.write_text("today\n")
    assert systemlog.rotate(file) == systemlog.KEPT
    assert not file.exists()
    names = sorted(one.name for one in tmp_path.iterdir())
    assert f"system.log.{clock.now():%Y-%m-%d}" in names and "system.log.2025-12-30.gz" in names and "system.log.2025-12-01.gz" not in names
    assert gzip.decompress((tmp_path / "system.log.2025-12-30.gz").read_bytes()) == b"yesterday"


def test_power_needs_no_log(running: Container, alice: Any) -> None:
    """A container without any line or alert is nobody's trouble."""
    act(running, "stop", user=alice, actor=alice.as_actor())
    assert logwatch.watch_logs() == 0


def test_the_pages_search_save_and_show_without_a_script(running: Container, alice: Any, bob: Any, nodes: Nodes, node: Node) -> None:
    page = Client()
    page.force_login(alice)
    nodes.write(running, "ERROR <needle>")
    assert "One search over all your containers" in page.get("/containers/logs").content.decode()
    shown = page.get("/containers/logs?search=needle&level=error").content.decode()
    assert "ERROR &lt;needle&gt;" in shown and "1 containers asked" in shown
    assert page.post("/containers/logs/filters", {"title": "mine", "search": "needle", "level": "error"}).status_code == 302
    assert "mine" in page.get("/containers/logs").content.decode()
    assert page.post(f"/containers/{running.pk}/alerts", {"pattern": "needle"}).status_code == 302
    assert "Not seen yet." in page.get(f"/containers/{running.pk}/settings").content.decode()
    remove = f"/containers/{running.pk}/alerts/{LogAlert.objects.get().pk}/remove"
    assert [page.post(remove).status_code for _ in range(2)] == [302, 404]
    KeptLog.objects.create(pk=running.pk, name="gone", owner=alice, node=node, deleted_at=clock.now())
    assert "ERROR &lt;needle&gt;" in page.get(f"/containers/logs/kept/{running.pk}").content.decode()
    page.force_login(bob)
    assert page.get(f"/containers/logs/kept/{running.pk}").status_code == 404
    assert page.post(f"/containers/{running.pk}/alerts", {"pattern": "needle"}).status_code == 404
