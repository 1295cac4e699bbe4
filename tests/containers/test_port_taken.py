"""A port that something else on the node holds: what the panel chose is chosen again, what a person named is refused (A12)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from agent.protocol.commands import CreatePayload
from audit.models import Entry
from containers.models import Container, Port
from containers.services import PortWish, act, edit
from containers.services.porttaken import MOST_TRIES, taken_in
from eggs.services import import_egg
from nodes.commands import payload_of
from nodes.models import Command, Node

pytestmark = pytest.mark.django_db


def in_use(port: int) -> str:
    return f"driver failed programming external connectivity: Error starting userland proxy: listen tcp4 0.0.0.0:{port}: bind: address already in use"


def egg_of(**changes: Any) -> Any:
    plain = {
        "meta": {"version": "PTDL_v2"}, "name": "Game", "author": "lormas@example.org", "docker_images": {"a": "example.org/a:1"},
        "startup": "./server --port {{SERVER_PORT}}", "config": {"files": "{}", "startup": "{}", "stop": "^C"}, "variables": [],
        **changes,
    }  # fmt: skip
    return import_egg(json.dumps(plain).encode(), filename="game.json").eggs[0]


def ports(container: Container) -> list[tuple[int, int, str]]:
    return [(port.host_port, port.container_port, port.protocol) for port in container.ports.all()]


def asked(container: Container, agent: Any) -> CreatePayload:
    return msgspec.convert(payload_of(agent.open_command(container, "container.create")), CreatePayload)


@pytest.mark.parametrize(
    ("detail", "found"),
    [
        (in_use(30001), {30001}),
        ("Bind for :::30002 failed: port is already allocated", {30002}),
        ("Port 30001/tcp is in use on the node (Address already in use).", {30001}),
        ("endpoint lormas-30001 (30002ab) is busy", {30001, 30002}),
        ("listen udp4 0.0.0.0:53: bind: address already in use", {30001, 30002}),
    ],
)
def test_the_port_is_the_one_that_is_named_or_any(detail: str, found: set[int]) -> None:
    assert taken_in(detail, (30001, 30002)) == found


def test_a_server_that_is_told_its_port_has_it_for_tcp_and_udp(make: Any, node: Node) -> None:
    """EGGS 8: the files say nothing of protocols. A number that is held for one of them is none for both; an egg that says which gets those."""
    make("dns", ports=[PortWish(53, 30000, "udp")])
    game, _ = make("game", image="", egg=egg_of())
    assert ports(game) == [(30001, 30001, "tcp"), (30001, 30001, "udp")]
    assert game.spec["env"]["SERVER_PORT"] == "30001"
    assert [(port.host_port, words) for port, words in game.published] == [(30001, "tcp+udp")]
    only, _ = make("only", image="", egg=egg_of(name="Only", lormas={"ports": [{"container": 0, "protocol": "udp"}]}))
    assert ports(only) == [(30002, 30002, "udp")]
    several, _ = make("several", ports=[PortWish(0), PortWish(0), PortWish(0, 0, "udp"), PortWish(53), PortWish(53, 0, "udp")])
    assert ports(several) == [(30003, 30003, "tcp"), (30003, 30003, "udp"), (30000, 30000, "tcp"), (30004, 53, "tcp"), (30004, 53, "udp")]


def test_what_the_panel_chose_is_chosen_again_and_told(make: Any, agent: Any) -> None:
    game, operation = make("game", image="", egg=egg_of())
    agent.failed(game, "port_taken", in_use(30000))
    game.refresh_from_db()
    operation.refresh_from_db()
    [(new, inside, _), (other, _, _)] = ports(game)
    assert new == inside == other != 30000
    assert (operation.is_open, game.operation_id, game.status) == (True, operation.pk, "creating")
    payload = asked(game, agent)
    assert (payload.spec.env["SERVER_PORT"], payload.start, payload.replace) == (str(new), True, False)
    assert payload.notes == [f"Port 30000 is in use on the node by something else: its port is {new} now."]
    entry = Entry.objects.get(action="containers.port_moved")
    assert (entry.before, entry.after) == ({"ports": [30000]}, {"ports": [new]})
    agent.done(game, "running")
    operation.refresh_from_db()
    assert (game.status, operation.status, game.spec_changed) == ("running", "succeeded", False)


def test_it_is_tried_a_few_times_with_another_number_each_and_then_refused(make: Any, agent: Any) -> None:
    game, operation = make("game", image="", egg=egg_of())
    seen = []
    for _ in range(MOST_TRIES + 1):
        [(number, _, _), _] = ports(game)
        seen.append(number)
        told = asked(game, agent).notes
        assert [line.split()[1] for line in told] == [str(port) for port in seen[:-1]]
        agent.failed(game, "port_taken", in_use(number))
    operation.refresh_from_db()
    assert len(set(seen)) == len(seen) == Command.objects.filter(operation=operation).count()
    assert (operation.status, operation.error_code) == ("failed", "port_taken")
    assert operation.error_detail.startswith(f"Port {seen[-1]} of node-1 is in use there by something that is no container of Lormas.")
    assert not Container.objects.exists() and not Port.objects.exists()


def test_what_a_person_named_is_refused(make: Any, agent: Any) -> None:
    """Of two ports only the one that is in use counts."""
    web, operation = make("web", ports=[PortWish(80, 30005), PortWish(81)])
    agent.failed(web, "port_taken", in_use(30000))
    assert sorted(port for port, _, _ in ports(web))[1] == 30005 and 30000 not in [port for port, _, _ in ports(web)]
    agent.failed(web, "port_taken", in_use(30005))
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "port_taken")
    assert "Port 30005 of node-1 is in use there" in operation.error_detail
    assert not Container.objects.exists()


def test_one_that_ran_before_is_made_anew_with_its_data_and_stays_if_nothing_helps(make: Any, agent: Any, alice: Any) -> None:
    game, _ = make("game", image="", egg=egg_of())
    agent.done(game, "running", started_at="2026-01-01T00:00:00Z")
    act(game, "restart", user=alice, actor=alice.as_actor())
    agent.failed(game, "port_taken", in_use(30000))
    payload = asked(game, agent)
    assert (payload.replace, payload.start, payload.stop is not None) == (True, True, True)
    agent.done(game, "running", started_at="2026-01-01T00:01:00Z")
    assert (game.status, game.spec_changed) == ("running", False)

    number = ports(game)[0][0]
    edit.change(game, user=alice, actor=alice.as_actor(), changes={}, wishes=[PortWish(7000, 30009), PortWish(53), PortWish(53, 0, "udp")])
    act(game, "restart", user=alice, actor=alice.as_actor())
    agent.failed(game, "port_taken", in_use(30009))
    game.refresh_from_db()
    assert ports(game) == [(30009, 7000, "tcp"), (30000, 53, "tcp"), (30000, 53, "udp")]
    assert number != 30009
    assert (game.operation_id, "30009" in game.status_reason) == (None, True)


def test_an_installed_one_is_not_installed_again(make: Any, agent: Any) -> None:
    script = {"installation": {"script": "echo installed", "container": "example.org/i:1", "entrypoint": "ash"}}
    game, operation = make("game", image="", egg=egg_of(scripts=script))
    agent.failed(game, "port_taken", in_use(30000))
    game.refresh_from_db()
    assert (game.install_state, asked(game, agent).replace) == ("done", True)
    agent.done(game, "running", started_at="2026-01-01T00:00:00Z")
    operation.refresh_from_db()
    assert (game.status, operation.status) == ("running", "succeeded")
