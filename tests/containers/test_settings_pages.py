"""The Settings tab without JavaScript: a section at a time, errors in place, what was typed stays."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from containers import logs
from containers.models import Container
from containers.services import PortWish
from containers.services.manners import settings_of

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture
def page(alice: Any) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def test_each_section_is_saved_on_its_own(page: Client, running: Container) -> None:
    address = f"/containers/{running.pk}/settings"
    assert page.post(address, {"section": "limits", "cpus": "1.5", "memory_bytes": "256", "swap_bytes": "0", "disk_bytes": "0.5", "pids": "99",
                               "io_weight": "0"}).status_code == 302  # fmt: skip
    assert page.post(address, {"section": "made", "image": "busybox:2", "command": "httpd -f", "env": "A=1\r\nB=x=y\r\n"}).status_code == 302
    assert page.post(address, {"section": "script", "startup_script": "echo hi\r\n"}).status_code == 302
    assert page.post(address, {"section": "care", "auto_heal": "on", "done": "ready\r\nregex:up .*", "timeout_seconds": "60"}).status_code == 302
    running.refresh_from_db()
    own = settings_of(running)
    assert (running.cpus, running.memory_bytes, running.disk_bytes, running.pids) == (1.5, 256 * 1024**2, 512 * 1024**2, 99)
    assert (running.image, running.command, running.env) == ("busybox:2", ["httpd", "-f"], {"A": "1", "B": "x=y"})
    assert (own.startup_script, own.auto_start, own.auto_heal) == ("echo hi\n", False, True)
    assert own.readiness == {"done": ["ready", "regex:up .*"], "timeout_seconds": 60}
    shown = page.get(address).content.decode()
    assert "a restart brings it" in shown
    assert 'value="1.5"' in shown and "B=x=y" in shown and "echo hi" in shown


def test_labels_are_lines_and_stay_where_a_form_has_none(page: Client, running: Container) -> None:
    address, general = f"/containers/{running.pk}/settings", {"name": "web", "description": "", "restart_policy": "no"}
    assert page.post(address, {**general, "labels": "team=a\r\n\r\ntier = front\r\n"}).status_code == 302
    assert Container.objects.get(pk=running.pk).labels == {"team": "a", "tier": "front"}
    assert page.post(address, general).status_code == 302
    assert "tier=front" in page.get(address).content.decode()
    wrong = page.post(address, {**general, "labels": "lormas.instance=x"})
    assert wrong.status_code == 400 and "are reserved" in wrong.content.decode() and "lormas.instance=x" in wrong.content.decode()


def test_what_is_wrong_is_told_in_place_and_what_was_typed_stays(page: Client, running: Container) -> None:
    address = f"/containers/{running.pk}/settings"
    refused = page.post(address, {"section": "made", "image": "Upper:tag", "command": "x", "env": "NOT A LINE"})
    text = refused.content.decode()
    assert refused.status_code == 400
    assert "This is not an image reference" in text and "is not of the form NAME=value" in text and "NOT A LINE" in text
    big = page.post(
        address, {"section": "limits", "cpus": "1", "memory_bytes": "999999", "swap_bytes": "0", "disk_bytes": "0", "pids": "9", "io_weight": "0"}
    )
    assert big.status_code == 400 and "has not so much more to give" in big.content.decode()
    ports = page.post(address, {"section": "ports", "port-inside": ["80"], "port-outside": ["40000"], "port-protocol": ["tcp"]})
    assert ports.status_code == 400 and "30000-30009" in ports.content.decode()


def test_ports_are_added_given_back_and_put_first(page: Client, make: Any, agent: Any) -> None:
    container, _ = make("web", ports=[PortWish(80, 30001), PortWish(81, 30002)])
    agent.done(container, "running")
    sent = {
        "section": "ports",
        "primary": "2",
        "port-inside": ["80", "", "90", ""],
        "port-outside": ["30001", "", "", ""],
        "port-protocol": ["tcp"] * 4,
    }
    assert page.post(f"/containers/{container.pk}/settings", sent).status_code == 302
    assert [(p.container_port, p.is_primary) for p in container.ports.all()] == [(90, True), (80, False)]


def test_save_and_restart_brings_it_at_once(page: Client, running: Container, agent: Any) -> None:
    sent = {"section": "made", "image": "busybox:2", "command": "", "env": "", "apply": "now"}
    assert page.post(f"/containers/{running.pk}/settings", sent).status_code == 302
    assert agent.open_command(running).kind == "container.create"


def test_revisions_show_who_changed_what_and_go_back(page: Client, running: Container, alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page.post(f"/containers/{running.pk}/settings", {"section": "made", "image": "busybox:2", "command": "", "env": "SAFE=<b>"})
    shown = page.get(f"/containers/{running.pk}/revisions").content.decode()
    assert "Revision 2" in shown and "busybox:2" in shown and "&lt;b&gt;" in shown and alice.as_actor().label in shown
    assert 'Environment <span class="mono">SAFE</span>' in shown
    assert page.post(f"/containers/{running.pk}/revisions/1/rollback", {"apply": "later"}).status_code == 302
    running.refresh_from_db()
    assert running.image == "busybox:stable"
    monkeypatch.setattr(logs, "ask", lambda *_args, **_more: {"differences": [["memory_bytes", 1024**3, 2 * 1024**3]]})
    drift = page.get(f"/containers/{running.pk}/drift").content.decode()
    assert "GiB" in drift and "Memory" in drift and "memory_bytes" not in drift  # as the form calls it


def test_the_stored_script_is_run_now_with_its_output(page: Client, running: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"exit_code": 0, "stdout": "<hi>", "stderr": "", "duration_seconds": 0.2, "truncated": False, "timed_out": False}
    monkeypatch.setattr(logs, "ask", lambda *_args, **_more: said)
    assert page.post(f"/containers/{running.pk}/settings/run-script").status_code == 409
    page.post(f"/containers/{running.pk}/settings", {"section": "script", "startup_script": "echo hi"})
    assert "&lt;hi&gt;" in page.post(f"/containers/{running.pk}/settings/run-script").content.decode()
