"""What a container's pages say when its node is away, and of what was done to it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from containers.models import Container
from containers.services import act
from nodes.models import Node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture
def page(alice: Any) -> Client:
    made = Client()
    made.force_login(alice)
    return made


def test_nobody_says_that_it_does_not_run_when_its_node_is_away(running: Container, page: Client, agent: Any, alice: Any) -> None:
    terminal, backups = f"/containers/{running.pk}/terminal", f"/containers/{running.pk}/backups"
    assert "Its node is not connected" not in page.get(terminal).content.decode()
    assert not re.search(r"<button[^>]*aria-disabled[^>]*>[^/]*/?[^B]*Back up", page.get(backups).content.decode())
    Node.objects.update(gateway="", status="INACTIVE")
    Container.objects.update(status="unknown")
    shown = page.get(terminal).content.decode()
    assert "Its node is not connected" in shown and "It does not run" not in shown
    assert re.search(r'<button class="btn primary" aria-disabled="true" data-tip="Its node is not connected."', page.get(backups).content.decode())
    Node.objects.update(gateway="test", status="ACTIVE")
    Container.objects.update(status="running")
    act(running, "stop", user=alice, actor=alice.as_actor())
    agent.done(running, "exited", exit_code=0)
    assert "It does not run" in page.get(terminal).content.decode()


def test_each_sentence_of_its_activity_has_an_end(running: Container, page: Client) -> None:
    """Not "alice created, 2 min ago"."""
    shown = page.get(f"/containers/{running.pk}/activity").content.decode()
    assert re.search(r"created(</span>)? <b>web</b>", shown), shown
