"""`/api/machines`, `/api/available`: shapes, doors, and credentials that nobody ever sees again."""

from __future__ import annotations

import json
import uuid
from typing import Any

import asyncssh
import pytest
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from audit.models import Entry
from lormas import sealed
from reservations.models import Machine
from reservations.secrets import unlock

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
GOOD = {"name": "alpine-1", "host": "10.0.0.9", "port": 22221, "user": "root", "password": "hunter-22", "labels": {"zone": "a"}}
BAD_HOSTS = [
    "-oProxyCommand=id",
    "--help",
    "-",
    "a b",
    "host;id",
    "$(id)",
    "`id`",
    "a\nb",
    "a/b",
    "user@host",
    "host:22",
    "[::1]",
    "fe80::1%eth0",
    "224.0.0.1",
    "999.1.1.1",
    "1.2.3",
    ".",
    "..",
    "a..b",
    "-a.example",
    "a-.example",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.example",
    "é.example",
    "a,b",
    "a|b",
    "a&b",
    "a'b",
    'a"b',
    "a>b",
    "{a}",
]


def test_a_machine_is_registered_read_changed_and_removed(api: Any, root: Any, alice: Any) -> None:
    made = api(root).post("/api/machines", GOOD, format="json")
    assert made.status_code == 201, made.json()
    base = made.headers["Location"]
    body = made.json()
    assert (body["status"], body["user"], body["has_password"], body["has_private_key"], body["reachable"]) == ("offline", "root", True, False, None)
    assert api(root).get("/api/machines/ALPINE-1").json()["id"] == body["id"], "by name, too"
    assert api(alice).get(base).json()["user"] is None, "Lormas' own account there is no member's business"
    changed = api(root).patch(base, {"description": "x", "labels": {}}, format="json").json()
    assert (changed["description"], changed["labels"], changed["has_password"]) == ("x", {}, True)
    assert api(root).patch(base, {"password": ""}, format="json").json()["errors"][0]["field"] == "password"
    listed = api(alice).get("/api/machines?search=alp&label=zone").json()
    assert listed["count"] == 0
    assert api(alice).get("/api/machines?condition=ok&ordering=-name").json()["count"] == 1
    assert api(root).delete(base).status_code == 204
    assert api(root).get(base).status_code == 404


def test_credentials_are_encrypted_and_in_no_answer_and_no_journal_row(api: Any, root: Any, settings: Any) -> None:
    """I03, D14: in the table they are ciphertext; a new key takes over by rotation and the old one may go."""
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    answer = api(root).post("/api/machines", {**GOOD, "private_key": key}, format="json")
    machine = Machine.objects.get()
    for kept in (machine.password, machine.private_key):
        assert "hunter-22" not in kept and "PRIVATE KEY" not in kept
    assert (unlock(machine.password), unlock(machine.private_key)) == ("hunter-22", key)
    everything = answer.content.decode() + str(list(Entry.objects.values())) + str(Machine.objects.values())
    assert "hunter-22" not in everything and "PRIVATE KEY" not in everything
    old = settings.FIELD_KEYS
    settings.FIELD_KEYS = ["a-new-key", *old]
    assert sealed.rotate() == {"moved": 2, "unreadable": 0}
    settings.FIELD_KEYS = ["a-new-key"]
    machine.refresh_from_db()
    assert (unlock(machine.password), unlock(machine.private_key)) == ("hunter-22", key)
    settings.FIELD_KEYS = ["quite-another"]
    assert sealed.rotate() == {"moved": 0, "unreadable": 2}


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_no_host_can_be_an_argument(api: Any, root: Any, host: str) -> None:
    """C04: 30 values."""
    refused = api(root).post("/api/machines", {**GOOD, "host": host}, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "host")
    assert not Machine.objects.exists()


@pytest.mark.parametrize("user", ["-l", "root;id", "a b", "Root", "", "$(id)", "a\nb", "-oProxyCommand=x", "x" * 33, "a:b", "a/b"])
def test_no_user_can_be_an_argument(api: Any, root: Any, user: str) -> None:
    """C04."""
    refused = api(root).post("/api/machines", {**GOOD, "user": user}, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "user")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "import"}, "name"),
        ({"name": "-x"}, "name"),
        ({"port": 0}, "port"),
        ({"port": 70000}, "port"),
        ({"password": "two\nlines"}, "password"),
        ({"password": ""}, "password"),
        ({"private_key": "nonsense"}, "private_key"),
        ({"labels": {"a b": "x"}}, "labels.a b"),
        ({"pasword": "x"}, "pasword"),
    ],
)
def test_bad_machines_leave_no_row(api: Any, root: Any, change: dict[str, Any], field: str) -> None:
    refused = api(root).post("/api/machines", {**GOOD, **change}, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, field), refused.json()
    assert not Machine.objects.exists()


def test_doors(api: Any, alice: Any, charlie: Any, olga: Any, make_machine: Any) -> None:
    """Members and viewers look; operators act; strangers see nothing."""
    base = f"/api/machines/{make_machine().pk}"
    assert APIClient().get("/api/machines").status_code == 401
    assert api(charlie).get(base).status_code == 200
    for method, path in (
        ("post", "/api/machines"), ("post", "/api/machines/import"), ("patch", base), ("put", base), ("delete", base),
        ("post", f"{base}/check"), ("post", f"{base}/broken"), ("post", f"{base}/fixed"), ("post", f"{base}/clean"),
    ):  # fmt: skip
        assert getattr(api(alice), method)(path, GOOD, format="json").status_code == 403, path
    assert api(olga).get(f"/api/machines/{uuid.uuid4()}").status_code == 404
    assert api(olga).post(f"{base}/broken", {"reason": "fan"}, format="json").json()["status"] == "broken"
    pool = api(charlie).get("/api/available").json()
    assert (pool["total"], pool["broken"], pool["machines"][0]["reason"]) == (1, 1, "fan")
    assert api(olga).post(f"{base}/fixed").json()["status"] == "offline", "until it was looked at"
    assert api(olga).post(f"{base}/clean").json()["code"] == "nothing_to_clean"


YAML = b"""
machines:
  - name: alpine-1
    host: localhost
    port: 22221
    user: root
    password: test
  - name: alpine-2
    host: localhost
    port: 22222
    user: root
    password: test
"""


def test_a_file_is_imported_whole_or_not_at_all(api: Any, root: Any) -> None:
    client = api(root)
    done = client.generic("POST", "/api/machines/import?localhost_as=host.docker.internal", YAML, content_type="application/yaml")
    assert (done.status_code, done.json()["created"]) == (201, 2), done.json()
    assert set(Machine.objects.values_list("host", flat=True)) == {"host.docker.internal"}
    again = client.generic("POST", "/api/machines/import", YAML, content_type="application/yaml")
    assert again.json()["errors"][0]["field"] == "machines.0.name"
    changed = client.post("/api/machines/import?update=true", {"machines": [{**GOOD, "host": "10.1.1.1"}]}, format="json")
    assert (changed.json()["updated"], Machine.objects.get(name="alpine-1").host) == (1, "10.1.1.1")
    half = client.post("/api/machines/import", {"machines": [{**GOOD, "name": "fresh"}, {**GOOD, "name": "bad", "host": "-x"}]}, format="json")
    assert (half.status_code, half.json()["errors"][0]["field"], Machine.objects.count()) == (400, "machines.1.host", 2)
    for nonsense in (b"", b"a: [", b"machines: 3", b"&a [*a, *a]", b"machines:\n- !!python/object/apply:os.system [id]"):
        assert client.generic("POST", "/api/machines/import", nonsense, content_type="application/yaml").status_code in (400, 422), nonsense


def test_the_command_does_the_same(tmp_path: Any, db: None, capsys: Any) -> None:
    file = tmp_path / "machines.yml"
    file.write_bytes(YAML)
    call_command("register_machines", str(file), "--localhost-as", "host.docker.internal")
    assert "2 registered" in capsys.readouterr().out
    assert Machine.objects.get(name="alpine-2").host == "host.docker.internal"
    with pytest.raises(CommandError, match=r"machines\.0\.name"):
        call_command("register_machines", str(file))
    call_command("register_machines", str(file), "--update")
    assert Machine.objects.get(name="alpine-2").host == "localhost"
    file.write_text(json.dumps({"machines": [{"name": "x", "hots": "y"}]}))
    with pytest.raises(CommandError, match="hots"):
        call_command("register_machines", str(file))


def test_a_machine_is_made_from_a_node_or_a_container(api: Any, root: Any, alice: Any) -> None:
    from containers.models import Container, Port
    from nodes.models import Node

    node = Node.objects.create(name="n1", ip_address="10.9.9.9", status="ACTIVE")
    box = Container.objects.create(name="box", owner=root, node=node, image="x", cpus=1, memory_bytes=1)
    way_in = {"user": "root", "password": "x"}
    of_node = api(root).post("/api/machines", {"name": "of-node", "node": str(node.pk), **way_in}, format="json").json()
    assert (of_node["host"], of_node["port"], of_node["node"]) == ("10.9.9.9", 22, str(node.pk))
    refused = api(root).post("/api/machines", {"name": "of-box", "container": str(box.pk), **way_in}, format="json")
    assert refused.json()["code"] == "no_ssh_port"
    Port.objects.create(container=box, node=node, container_port=22, host_port=25570, protocol="tcp")
    of_box = api(root).post("/api/machines", {"name": "of-box", "container": str(box.pk), **way_in}, format="json").json()
    assert (of_box["host"], of_box["port"], of_box["container_id"]) == ("10.9.9.9", 25570, str(box.pk))


def test_a_machine_that_is_held_or_booked_stays(api: Any, root: Any, alice: Any, make_machine: Any, book: Any) -> None:
    machine = make_machine()
    book(alice)
    refused = api(root).delete(f"/api/machines/{machine.pk}")
    assert (refused.status_code, refused.json()["code"]) == (409, "machine_held")
    assert Machine.objects.count() == 1
