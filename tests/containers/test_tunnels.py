"""A container's Cloudflare tunnel on the panel's side: the wish, its token, and telling a node that was away."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.core.serializers import serialize
from django.test import Client
from rest_framework.test import APIClient

from audit.models import Entry
from containers import logs
from containers.models import Container, ContainerTunnel
from containers.services import tunnels
from lormas.common.crypto import decrypt
from lormas.common.errors import NodeUnavailable, Refused
from nodes.models import Node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
TOKEN = "eyJhIjoiY2FuYXJ5IiwidCI6IjEifQ=="


class PlayedNode:
    """Keeps the newest wish, as an agent does."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.wishes: dict[str, tuple[int, str]] = {}
        self.away: Exception | None = None
        self.says: dict[str, Any] = {"state": "connected", "urls": ["https://app.example.com", "javascript:x"], "connections": 4}

    def ask(self, container: Container, kind: str, payload: Any = None, *, timeout_seconds: float = 10) -> dict[str, Any]:
        if self.away is not None:
            raise self.away
        self.asked.append((kind, payload))
        known = self.wishes.get(str(container.pk), (0, ""))
        if kind != "tunnel.state" and payload.version > known[0]:
            known = self.wishes[str(container.pk)] = (payload.version, getattr(payload, "token", ""))
        return {"tunnel": {**(self.says if known[1] else {"state": "off"}), "version": known[0]}}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, node: Node) -> PlayedNode:
    Node.objects.filter(pk=node.pk).update(capabilities=["tunnel"])
    made = PlayedNode()
    monkeypatch.setattr(logs, "ask", made.ask)
    return made


@pytest.fixture
def api(alice: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(alice)
    return client


def test_started_shown_stopped_and_forgotten_with_its_token_told_to_nobody(api: APIClient, running: Container, played: PlayedNode) -> None:
    """SECURITY I01, I02: in no answer, no journal row, and encrypted in its own."""
    address = f"/api/containers/{running.pk}/settings/tunnel"
    assert api.get(address).json() == {
        "configured": False, "wanted": False, "state": "off", "detail": "", "url": "", "urls": [], "connections": 0, "restarts": 0, "since": None,
        "checked_at": None,
    }  # fmt: skip
    assert api.post(f"{address}/start", {}, format="json").json()["code"] == "no_token"
    wrong = api.post(f"{address}/start", {"token": "not a token!"}, format="json")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "token")
    assert api.post(f"{address}/stop").json()["code"] == "no_tunnel"
    started = api.post(f"{address}/start", {"token": f"cloudflared service install {TOKEN}"}, format="json").json()
    assert (started["configured"], started["wanted"], started["state"], started["url"]) == (True, True, "connected", "https://app.example.com")
    assert started["urls"] == ["https://app.example.com"]  # nothing but https is ever shown as an address
    assert played.wishes[str(running.pk)] == (1, TOKEN)
    played.says = {"state": "failed", "detail": "exit code 1", "restarts": 3}
    now = api.get(f"/api/settings/{running.pk}/tunnel").json()
    assert (now["state"], now["detail"], now["restarts"], now["url"]) == ("failed", "exit code 1", 3, "")
    stopped = api.post(f"{address}/stop").json()
    assert (stopped["wanted"], stopped["state"], stopped["configured"]) == (False, "off", True)
    assert api.post(f"{address}/start").json()["wanted"]  # with the kept one
    assert played.wishes[str(running.pk)] == (3, TOKEN)
    row = ContainerTunnel.objects.get(pk=running.pk)
    assert decrypt(row.sealed_token, keys=settings.FIELD_KEYS) == TOKEN
    assert TOKEN not in serialize("json", [row, *Entry.objects.all()]) + api.get(address).content.decode()
    assert list(Entry.objects.filter(action__startswith="containers.tunnel").order_by("pk").values_list("action", flat=True)) == [
        "containers.tunnel_start", "containers.tunnel_stop", "containers.tunnel_start",
    ]  # fmt: skip
    gone = api.delete(address).json()
    assert (gone["configured"], gone["wanted"]) == (False, False)
    assert ContainerTunnel.objects.get(pk=running.pk).sealed_token == ""


def test_a_node_that_refuses_or_is_away(api: APIClient, running: Container, played: PlayedNode) -> None:
    """A refusal leaves nothing wanted; silence leaves the wish, and the sweep tells it later: also where the container has moved."""
    address = f"/api/containers/{running.pk}/settings/tunnel"
    played.away = Refused("The node's own policy forbids tunnels.", code="policy_denied")
    refused = api.post(f"{address}/start", {"token": TOKEN}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (422, "policy_denied")
    assert not ContainerTunnel.objects.get(pk=running.pk).wanted
    played.away = NodeUnavailable("It is away.")
    assert api.post(f"{address}/start", {}, format="json").json()["state"] == "starting"
    assert tunnels.settle() == 0
    assert api.get(address).json()["state"] == "unknown"
    played.away = None
    assert (tunnels.settle(), tunnels.settle()) == (1, 0)
    assert api.get(address).json()["state"] == "connected"
    Container.objects.filter(pk=running.pk).update(epoch=running.epoch + 1)
    assert tunnels.settle() == 1  # its new node has not heard of it
    played.wishes.clear()  # the node's folder was lost
    assert api.get(address).json()["wanted"]
    assert (tunnels.settle(), tunnels.settle()) == (1, 0)
    played.away = NodeUnavailable("It is away.")
    assert "told as soon as it answers" in api.post(f"{address}/stop").json()["detail"]
    played.away = None
    assert tunnels.settle() == 1
    assert played.wishes[str(running.pk)][1] == ""
    Node.objects.update(capabilities=[])
    assert api.post(f"{address}/start", {}, format="json").json()["code"] == "unsupported"
    Node.objects.update(capabilities=["tunnel"], status="INACTIVE")
    assert api.post(f"{address}/start", {}, format="json").status_code == 503


def test_settings_take_a_token_and_never_give_it(api: APIClient, running: Container, played: PlayedNode) -> None:
    address = f"/api/containers/{running.pk}/settings"
    assert api.patch(address, {"tunnel_token": "short"}, format="json").status_code == 400
    kept = api.patch(address, {"tunnel_token": TOKEN, "description": "x"}, format="json")
    assert (kept.json()["has_tunnel_token"], kept.json()["description"]) == (True, "x")
    assert TOKEN not in kept.content.decode() and "tunnel_token" not in kept.json()
    assert api.patch(address, {"tunnel_token": ""}, format="json").json()["has_tunnel_token"] is False
    assert played.asked == []


def test_the_page_works_without_javascript(alice: Any, running: Container, played: PlayedNode) -> None:
    page = Client()
    page.force_login(alice)
    at = f"/containers/{running.pk}"
    wrong = page.post(f"{at}/tunnel/start", {"token": "bad"})
    assert wrong.status_code == 400 and "This is not a tunnel token" in wrong.content.decode()
    assert page.post(f"{at}/tunnel/start", {"token": TOKEN}).status_code == 302
    text = page.get(f"{at}/settings").content.decode()
    assert "https://app.example.com" in text and "Connected" in text and TOKEN not in text
    played.says = {"state": "starting", "detail": "<b>connIndex</b>"}
    part = page.get(f"{at}/tunnel").content.decode()
    assert "every 4s" in part and "&lt;b&gt;" in part
    assert page.post(f"{at}/tunnel/forget").status_code == 302
    assert "https://app.example.com" not in page.get(f"{at}/settings").content.decode()
    assert page.post(f"{at}/tunnel/stop").status_code == 409
    assert msgspec.json.encode(sorted({kind for kind, _ in played.asked})) == b'["tunnel.start","tunnel.state","tunnel.stop"]'
