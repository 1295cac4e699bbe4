"""Logs over many containers, of those that are gone, as gzip; levels, saved searches, alerts, what happens at night."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from audit.models import Entry
from containers import logs
from containers.loglevels import at_least, detect
from containers.models import Container, KeptLog, LogAlert
from containers.services import act, delete_container, logkeeping, logwatch
from lormas import systemlog
from lormas.common import clock, live
from lormas.common.errors import NodeUnavailable
from nodes.commands import payload_of
from nodes.models import Node

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
    """Stores of lines by container id; `away` ones can't be asked."""

    def __init__(self) -> None:
        self.lines: dict[str, list[list[Any]]] = {}
        self.away: set[str] = set()

    def write(self, container: Any, *texts: str) -> None:
        store = self.lines.setdefault(str(container.pk), [])
        for text in texts:
            store.append([len(store) + 1, f"2026-01-01T00:00:{len(store):02}.{len(text):06}Z", "application", text])

    def read(self, container: Any, query: Any) -> dict[str, Any]:
        if str(container.pk) in self.away:
            raise NodeUnavailable("Node is not connected.")
        store = self.lines.get(str(container.pk), [])
        found = [line for line in store if line[0] > query.after and query.search.lower() in line[3].lower()]
        found = found[-query.tail :] if query.tail and query.after < 0 else found[: query.limit]
        return {"lines": found, "first_seq": 1, "last_seq": len(store), "more": False, "gaps": []}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    made = Nodes()
    monkeypatch.setattr(logs, "read", made.read)
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
