"""What buttons and forms do: through the services, with a word back, and without JavaScript too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

SignIn = Callable[[Any], Client]
HX = {"HX-Request": "true"}

pytestmark = pytest.mark.django_db


def test_stop_becomes_an_operation_and_a_toast_by_htmx_and_a_redirect_without(alice: Any, web: Any, sign_in: SignIn) -> None:
    client = sign_in(alice)
    answer = client.post(f"/containers/{web.pk}/power/stop", headers=HX)
    web.refresh_from_db()
    assert answer.status_code == 200
    assert web.status == "stopping"
    assert f"toast-op-{web.operation_id}" in answer.content.decode()
    plain = client.post(f"/containers/{web.pk}/power/kill")
    assert plain.status_code == 302
    assert plain.headers["Location"] == f"/containers/{web.pk}"


def test_a_second_action_is_refused_with_what_runs_and_the_request_id(alice: Any, web: Any, sign_in: SignIn) -> None:
    client = sign_in(alice)
    client.post(f"/containers/{web.pk}/power/stop", headers=HX)
    answer = client.post(f"/containers/{web.pk}/power/restart", headers={**HX, "X-Request-ID": "req-77"})
    assert answer.status_code == 423
    assert answer.headers["HX-Reswap"] == "none"
    assert "req-77" in answer.content.decode()
    plain = client.post(f"/containers/{web.pk}/power/restart")
    assert plain.status_code == 423
    assert "To the dashboard" in plain.content.decode()


def test_power_is_refused_to_strangers_viewers_and_by_get(bob: Any, charlie: Any, alice: Any, web: Any, sign_in: SignIn) -> None:
    """D01, H02: GET never mutates."""
    assert sign_in(bob).post(f"/containers/{web.pk}/power/stop").status_code == 404
    assert sign_in(charlie).post(f"/containers/{web.pk}/power/stop").status_code == 404
    assert sign_in(alice).get(f"/containers/{web.pk}/power/stop").status_code == 405
    assert sign_in(alice).post(f"/containers/{web.pk}/power/explode").status_code == 404
    web.refresh_from_db()
    assert web.status == "running"


def test_every_form_needs_its_csrf_token(alice: Any, web: Any) -> None:
    """H02"""
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    for address in (
        f"/containers/{web.pk}/power/stop",
        f"/containers/{web.pk}/delete",
        f"/containers/{web.pk}/settings",
        "/containers/new",
        "/logout",
    ):
        assert client.post(address).status_code == 403, address


def test_buttons_that_are_off_say_why(alice: Any, charlie: Any, web: Any, sign_in: SignIn) -> None:
    from containers.buttons import buttons
    from containers.models import Container

    html = sign_in(alice).get(f"/containers/{web.pk}").content.decode()
    assert "Not possible while it is running." in html
    assert buttons(web, charlie)["stop"].reason == "You lack containers.stop on this container."
    web.node.gateway, web.node.status = "", "INACTIVE"
    assert buttons(web, alice)["stop"].reason == "Node fra-1 is not connected."
    Container.objects.filter(pk=web.pk).update(status="paused")


def test_delete_wants_the_name_and_moves_to_the_trash_from_which_it_comes_back(alice: Any, web: Any, sign_in: SignIn) -> None:
    client = sign_in(alice)
    refused = client.post(f"/containers/{web.pk}/delete", {"name": "web"})
    assert refused.status_code == 400
    assert "This is not its name." in refused.content.decode()
    assert client.post(f"/containers/{web.pk}/delete", {"name": "web-1"}).headers["Location"] == "/containers"
    assert client.get(f"/containers/{web.pk}").status_code == 404
    assert "web-1" in client.get("/containers?trash=1").content.decode()
    assert client.post(f"/containers/{web.pk}/restore").headers["Location"] == f"/containers/{web.pk}"
    assert client.get(f"/containers/{web.pk}").status_code == 200


def test_settings_are_saved_or_refused_in_place_with_what_was_typed(alice: Any, web: Any, node: Any, sign_in: SignIn) -> None:
    from tests.console.conftest import make_container

    make_container("other", alice, node)
    client = sign_in(alice)
    taken = client.post(f"/containers/{web.pk}/settings", {"name": "other", "description": "kept", "restart_policy": "no"})
    assert taken.status_code == 400
    assert "choose another name" in taken.content.decode()
    assert 'value="kept"' in taken.content.decode()
    assert client.post(f"/containers/{web.pk}/settings", {"name": "web-2", "description": "", "restart_policy": "no"}).status_code == 302
    web.refresh_from_db()
    assert (web.name, web.restart_policy) == ("web-2", "no")


def test_a_container_is_made_from_an_image_by_the_plain_form(alice: Any, node: Any, sign_in: SignIn) -> None:
    from containers.models import Container

    form = {
        "source": "image",
        "name": "api",
        "image": "nginx:1.27",
        "env": "A=1\r\nB=two words\r\n",
        "ports": "8080, 53/udp",
        "cpus": "0.5",
        "memory": "256",
    }
    answer = sign_in(alice).post("/containers/new", {**form, "memory_unit": "MiB", "restart_policy": "unless-stopped", "start": "1"})
    made = Container.objects.get(name="api")
    assert answer.headers["Location"] == f"/containers/{made.pk}"
    assert made.env == {"A": "1", "B": "two words"}
    assert (made.cpus, made.memory_bytes) == (0.5, 256 * 1024**2)
    assert sorted(made.ports.values_list("container_port", "protocol")) == [(53, "udp"), (8080, "tcp")]


def test_a_container_is_made_from_an_egg_with_its_variables(alice: Any, node: Any, egg: Any, sign_in: SignIn) -> None:
    from containers.models import Container

    form = {"egg": str(egg.pk), "name": "hello", "var.MESSAGE": "Good day", "cpus": "0.5", "memory": "128", "memory_unit": "MiB", "start": "1"}
    answer = sign_in(alice).post("/containers/new", form)
    assert answer.status_code == 302, answer.content.decode()[-3000:]
    assert Container.objects.get(name="hello").variables["MESSAGE"] == "Good day"


def test_what_is_wrong_with_a_new_container_stands_at_its_field_and_nothing_typed_is_lost(alice: Any, node: Any, sign_in: SignIn) -> None:
    from containers.models import Container

    form = {
        "source": "image",
        "name": "-bad-",
        "image": "NOT AN IMAGE",
        "env": "oops",
        "ports": "99999",
        "cpus": "x",
        "memory": "1",
        "memory_unit": "MiB",
    }
    answer = sign_in(alice).post("/containers/new", form)
    html = answer.content.decode()
    assert answer.status_code == 400
    for text in (
        "This is not an image reference",
        "Use 1 to 64 letters",
        "NAME=value",
        "ports are 1-65535",
        "At least 6 MiB",
        'value="NOT AN IMAGE"',
        'value="99999"',
    ):
        assert text in html.replace("&quot;", '"').replace("&#x27;", "'"), text
    too_big = {"source": "image", "name": "big", "image": "nginx", "cpus": "500", "memory": "1", "memory_unit": "GiB"}
    refused = sign_in(alice).post("/containers/new", too_big)
    assert refused.status_code == 422
    assert "cores wanted" in refused.content.decode() or "no node" in refused.content.decode().lower()
    assert not Container.objects.exists()


def test_the_placement_preview_gives_reasons_and_names_nodes_only_to_those_who_see_them(
    alice: Any, olga: Any, node: Any, pending: Any, sign_in: SignIn, settings: Any
) -> None:
    settings.CPU_OVERCOMMIT = 1.0
    form = {"source": "image", "name": "x", "image": "nginx", "cpus": "1", "memory": "1", "memory_unit": "GiB"}
    member = sign_in(alice).post("/containers/new/placement", form, headers=HX).content.decode()
    assert "Fits on 1 of 2 nodes" in member and "fra-1" not in member
    operator = sign_in(olga).post("/containers/new/placement", {**form, "cpus": "64"}, headers=HX).content.decode()
    assert "Fits on no node" in operator and "64 cores wanted, 8 free" in operator


def test_the_form_shows_itself_as_a_request_without_secrets(alice: Any, node: Any, sign_in: SignIn) -> None:
    form = {"source": "image", "name": "it's", "image": "nginx", "cpus": "1", "memory": "1", "memory_unit": "GiB", "start": "1"}
    html = sign_in(alice).post("/containers/new/request", form, headers=HX).content.decode()
    assert "curl -X POST" in html and "1073741824" in html


def test_a_node_is_registered_and_its_token_is_shown_once(olga: Any, sign_in: SignIn) -> None:
    """I01: the token waits encrypted and never travels in an address."""
    from django.contrib.sessions.models import Session

    client = sign_in(olga)
    answer = client.post("/nodes/new", {"name": "edge-1", "labels": "zone=eu, disk=ssd"})
    assert answer.status_code == 302 and "?" not in answer.headers["Location"]
    assert not any("eyJ" in str(session.get_decoded()) for session in Session.objects.all())
    first = client.get(answer.headers["Location"]).content.decode()
    assert "LORMAS_NODE_TOKEN=" in first and "join --panel" in first
    assert "LORMAS_NODE_TOKEN=" not in client.get(answer.headers["Location"]).content.decode()
    taken = client.post("/nodes/new", {"name": "EDGE-1", "labels": "oops"})
    assert taken.status_code == 400 and "key=value" in taken.content.decode()
    again = client.post("/nodes/new", {"name": "EDGE-1"})
    assert again.status_code == 400 and "EDGE-1" in again.content.decode()


def test_a_node_is_edited_closed_to_new_containers_and_removed_only_when_empty(root: Any, alice: Any, web: Any, node: Any, sign_in: SignIn) -> None:
    from nodes.models import Node

    client = sign_in(root)
    form = {"name": "fra-1", "labels": "zone=fra", "taints": "gpu=only:NoSchedule", "max_pods": "5"}
    assert client.post(f"/nodes/{node.pk}/edit", form).status_code == 302
    client.post(f"/nodes/{node.pk}/schedulable", {"to": "0"}, headers=HX)
    node.refresh_from_db()
    assert (node.labels, node.max_pods, node.is_schedulable) == ({"zone": "fra"}, 5, False)
    assert client.post(f"/nodes/{node.pk}/delete", {"name": "fra-1"}).status_code == 409
    assert client.post(f"/nodes/{node.pk}/delete", {"name": "wrong"}).status_code == 400
    assert Node.objects.filter(pk=node.pk).exists()


def test_an_egg_file_is_imported_or_refused_with_its_code(olga: Any, sign_in: SignIn) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    from eggs.models import Egg
    from eggs.services import BUNDLED

    client = sign_in(olga)
    good = SimpleUploadedFile("hello.json", (BUNDLED / "hello.json").read_bytes())
    assert client.post("/eggs/import", {"file": good}).headers["Location"] == f"/eggs/{Egg.objects.get().pk}"
    refused = client.post("/eggs/import", {"text": "{not json"})
    assert refused.status_code == 422
    assert "{not json" in refused.content.decode()
    assert client.post("/eggs/import", {}).status_code == 400


def test_the_end_of_an_operation_is_told_with_what_went_wrong(alice: Any, failed: Any, bob: Any, sign_in: SignIn) -> None:
    html = sign_in(alice).get(f"/operations/{failed.pk}/toast", headers=HX).content.decode()
    assert "The image does not exist." in html and "req-1" in html
    assert sign_in(bob).get(f"/operations/{failed.pk}/toast", headers=HX).status_code == 404
