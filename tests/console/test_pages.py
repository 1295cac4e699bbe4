"""Every page: who may open it, what it never contains."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

SignIn = Callable[[Any], Client]

pytestmark = pytest.mark.django_db

# (address, status for: nobody, alice who owns web, bob another member, charlie the viewer, olga the operator, root)
PAGES = [
    ("/", 302, 200, 200, 200, 200, 200),
    ("/containers", 302, 200, 200, 200, 200, 200),
    ("/containers?status=running&search=web&order=-name", 302, 200, 200, 200, 200, 200),
    ("/containers?trash=1", 302, 200, 200, 200, 200, 200),
    ("/containers/new", 302, 200, 200, 403, 200, 200),
    ("/containers/new?source=image", 302, 200, 200, 403, 200, 200),
    ("/containers/new?egg={egg}", 302, 200, 200, 403, 200, 200),
    ("/containers/{web}", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/console", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/stats?range=24h", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/stats?range=3w", 302, 400, 404, 404, 400, 400),
    ("/containers/{web}/files", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/files?path=../etc", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/files?trash=1", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/files?search=x", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/terminal", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/settings", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/activity", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/revisions", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/drift", 302, 200, 404, 404, 200, 200),
    ("/containers/{web}/delete", 302, 200, 404, 404, 200, 200),
    ("/containers/on-node/{node}", 302, 404, 404, 404, 200, 200),
    ("/nodes", 302, 403, 403, 403, 200, 200),
    ("/nodes/new", 302, 403, 403, 403, 200, 200),
    ("/nodes/{node}", 302, 404, 404, 404, 200, 200),
    ("/nodes/{pending}", 302, 404, 404, 404, 200, 200),
    ("/nodes/{node}/edit", 302, 404, 404, 404, 200, 200),
    ("/nodes/{node}/delete", 302, 404, 404, 404, 403, 200),
    ("/eggs", 302, 200, 200, 200, 200, 200),
    ("/eggs/{egg}", 302, 200, 200, 200, 200, 200),
    ("/eggs/import", 302, 403, 403, 403, 200, 200),
    ("/operations", 302, 200, 200, 200, 200, 200),
    ("/operations/{failed}", 302, 200, 404, 404, 200, 200),
    ("/operations/drawer", 302, 200, 200, 200, 200, 200),
    ("/operations/running", 302, 200, 200, 200, 200, 200),
    ("/dashboard/steps", 302, 200, 200, 200, 200, 200),
    ("/dashboard/numbers", 302, 200, 200, 200, 200, 200),
    ("/dashboard/fleet", 302, 200, 200, 200, 200, 200),
    ("/dashboard/mine", 302, 200, 200, 200, 200, 200),
    ("/containers/rows?id={web}&id=nonsense", 302, 200, 200, 200, 200, 200),
    ("/nodes/rows?id={node}", 302, 200, 200, 200, 200, 200),
    ("/search?q=web", 302, 200, 200, 200, 200, 200),
    ("/profile", 302, 200, 200, 200, 200, 200),
    ("/password", 302, 200, 200, 200, 200, 200),
    ("/nowhere", 404, 404, 404, 404, 404, 404),
]


@pytest.fixture
def cast(alice: Any, bob: Any, charlie: Any, olga: Any, root: Any) -> list[Any]:
    return [None, alice, bob, charlie, olga, root]


@pytest.mark.parametrize(("address", "expected"), [(page[0], page[1:]) for page in PAGES])
def test_each_page_opens_for_whom_it_is_meant_and_for_nobody_else(
    address: str, expected: tuple[int, ...], cast: list[Any], web: Any, node: Any, pending: Any, egg: Any, failed: Any, sign_in: SignIn
) -> None:
    """D01-D03, F02: unseen is 404, seen but not allowed 403, nobody is sent to the gate."""
    url = address.format(web=web.pk, node=node.pk, pending=pending.pk, egg=egg.pk, failed=failed.pk)
    for user, status in zip(cast, expected, strict=True):
        response = (sign_in(user) if user else Client()).get(url)
        assert response.status_code == status, f"{url} for {user}"
        if status == 302:
            assert response.headers["Location"].startswith("/login?next=")


SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL | re.IGNORECASE)
HANDLER = re.compile(r"<[^>]+\son[a-z]+\s*=", re.IGNORECASE)


def harmless(html: str) -> None:
    for attributes, body in SCRIPT.findall(html):
        assert "src=" in attributes and "nonce=" in attributes
        assert not body.strip()
    assert not HANDLER.search(html)
    assert "javascript:" not in html.lower()
    assert "<style" not in html


def test_no_page_has_an_inline_script_or_handler_and_each_has_a_strict_policy(
    root: Any, web: Any, node: Any, pending: Any, egg: Any, failed: Any, sign_in: SignIn
) -> None:
    """H01, H03: scripts only from here and only with this answer's nonce; nobody frames the console."""
    client = sign_in(root)
    for address, *_ in PAGES:
        response = client.get(address.format(web=web.pk, node=node.pk, pending=pending.pk, egg=egg.pk, failed=failed.pk))
        harmless(response.content.decode())
        policy = response.headers["Content-Security-Policy"]
        assert "'unsafe-eval'" not in policy
        assert "script-src 'self'" in policy and "'unsafe-inline'" not in policy.split("script-src", 1)[1].split(";")[0]
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Frame-Options"] == "DENY"


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_hostile_names_stay_text_on_every_page(root: Any, alice: Any, node: Any, egg: Any, sign_in: SignIn) -> None:
    """H01: names, descriptions, images, labels, reasons, journal and operations come from strangers."""
    from audit.models import Entry
    from eggs.models import Egg
    from lormas.common import clock
    from nodes.models import Node, Operation
    from tests.console.conftest import make_container

    Node.objects.filter(pk=node.pk).update(
        name=HOSTILE[:64], description=HOSTILE, hostname=HOSTILE, status="NOT_READY", status_reason=HOSTILE, labels={HOSTILE: HOSTILE}
    )
    Egg.objects.filter(pk=egg.pk).update(name=HOSTILE, description=HOSTILE, icon=HOSTILE, tags=[HOSTILE])
    made = make_container(
        HOSTILE[:64], alice, node, image=HOSTILE, description=HOSTILE, status="crashed", status_reason=HOSTILE, env={"A": HOSTILE}, egg_id=egg.pk
    )
    operation = Operation.objects.create(
        kind="container.start",
        status="failed",
        target_label=HOSTILE,
        error_detail=HOSTILE,
        message=HOSTILE,
        actor_label=HOSTILE,
        deadline=clock.now(),
    )
    Entry.objects.create(
        time=clock.now(),
        actor_kind="user",
        actor_label=HOSTILE,
        action="x.y",
        target_type="container",
        target_id=str(made.pk),
        target_label=HOSTILE,
        message=HOSTILE,
    )
    client = sign_in(root)
    one, it = f"/containers/{made.pk}", f"/nodes/{node.pk}"
    for address in (
        "/", "/containers", one, f"{one}/settings", f"{one}/activity", "/nodes", it, f"{it}/edit", f"/containers/on-node/{node.pk}",
        "/eggs", f"/eggs/{egg.pk}", f"/containers/new?egg={egg.pk}", "/operations", f"/operations/{operation.pk}",
        "/search?q=script", f"/operations/{operation.pk}/toast", f"/containers?search={HOSTILE}",
    ):  # fmt: skip
        html = client.get(address).content.decode()
        assert "<script>alert" not in html, address
        assert "<img src=x" not in html, address


def test_a_list_costs_the_same_queries_for_one_row_and_for_many(root: Any, alice: Any, node: Any, sign_in: SignIn) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from tests.console.conftest import make_container

    client = sign_in(root)
    counted = []
    for batch in (1, 20):
        for index in range(batch):
            make_container(f"c-{batch}-{index}", alice, node)
        for address in ("/containers", "/", "/nodes"):
            with CaptureQueriesContext(
                connection,
            ) as found:
                assert client.get(address).status_code == 200
            counted.append((address, len(found)))
    assert counted[:3] == counted[3:]


def test_the_sidebar_shows_only_what_the_person_may_see(alice: Any, olga: Any, root: Any, sign_in: SignIn) -> None:
    assert 'href="/nodes"' not in sign_in(alice).get("/").content.decode()
    assert 'href="/nodes"' in sign_in(olga).get("/").content.decode()


def test_a_fragment_asked_for_by_nobody_leads_to_the_gate_and_back_to_its_page(db: None) -> None:
    response = Client().get("/operations/drawer", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/containers?x=1"})
    assert response.status_code == 204
    assert response.headers["HX-Redirect"] == "/login?next=http%3A%2F%2Ftestserver%2Fcontainers%3Fx%3D1"
