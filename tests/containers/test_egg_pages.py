"""Pages of eggs: the library, an egg, its versions side by side, trying values, importing, moving containers, the Startup tab."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from containers.models import Container, Rollout
from eggs.models import Egg
from eggs.services import import_egg
from tests.eggs.conftest import egg_file, encoded, variable

pytestmark = pytest.mark.redis
UUID = "3885c37c-f1da-4979-860d-4c200a8ca564"
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()
SECRET = variable("SECRET", default_value="CANARY-7", user_viewable=False, user_editable=False)


@pytest.fixture
def sign_in() -> Callable[[Any], Client]:
    def inner(user: Any) -> Client:
        client = Client()
        client.force_login(user, backend="accounts.backends.EmailOrUsernameBackend")
        return client

    return inner


def taken(**changes: Any) -> Egg:
    return import_egg(encoded(egg_file(**{"uuid": UUID, **changes})), filename="e.json").eggs[0]


def test_the_library_is_searched_and_filtered(alice: Any, sign_in: Any) -> None:
    taken(tags=["minecraft", 'od"d'], lormas={"category": "Games"}, icon=f"data:image/png;base64,{PIXEL}")
    import_egg(encoded(egg_file(name="Other", description="a database")), filename="o.json")
    client = sign_in(alice)
    page = client.get("/eggs").content.decode()
    assert "Small" in page
    assert "Other" in page
    assert "Games (1)" in page
    for query, seen, unseen in [
        ("search=data+other", "Other", ">Small<"),
        ("search=minecraft", "Small", ">Other<"),
        ("category=Games", "Small", ">Other<"),
        ("tag=minecraft", "Small", ">Other<"),
        ("tag=od%22d", "Small", ">Other<"),
    ]:
        page = client.get(f"/eggs?{query}").content.decode()
        assert seen in page, query
        assert unseen not in page, query
    assert "Nothing matches" in client.get("/eggs?search=zzz").content.decode()


def test_a_picture_is_served_as_nothing_but_a_picture(alice: Any, sign_in: Any) -> None:
    """H01, H06: what calls itself a picture and is none never gets in; SVG can carry script."""
    egg = taken(icon=f"data:image/svg+xml;base64,{PIXEL}")
    answer = sign_in(alice).get(f"/eggs/{egg.pk}/icon")
    assert (answer.headers["Content-Type"], answer.headers["X-Content-Type-Options"]) == ("image/png", "nosniff"), "told by its bytes"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    for bad in ("<svg onload=alert(1)>", "<html><script>", "GIF8", ""):
        for kind in ("svg+xml", "png", "html", 'png";x="'):
            egg = taken(icon=f"data:image/{kind};base64,{base64.b64encode(bad.encode()).decode()}")
            assert egg.icon == ""
    assert sign_in(alice).get(f"/eggs/{egg.pk}/icon").status_code == 404


def test_words_of_a_file_stay_words(root: Any, sign_in: Any) -> None:
    """H01: in every field of an egg that a page shows."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}"
    for number in (1, 2):
        egg = taken(
            name=f"N{evil}", author=evil, description=f"{evil}{number}", tags=[evil], features=[evil], startup=f"./x {evil}{number}",
            docker_images={evil: "debian:12"},
            variables=[variable("A", name=evil, description=evil, default_value=f"{evil}{number}", rules=f"in:{evil}")],
            config={"files": json.dumps({evil: {"parser": evil, "find": {evil: evil}}}), "startup": "{}", "stop": evil},
            scripts={"installation": {"script": f"{evil}\n{number}", "container": evil, "entrypoint": evil}},
            meta={"version": "PTDL_v2", "update_url": "javascript:alert(1)"}, lormas={"category": evil, "notes": evil},
        )  # fmt: skip
    client = sign_in(root)
    for address in ("", "/diff", "/preview", "/rollout"):
        page = client.get(f"/eggs/{egg.pk}{address}").content.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "javascript:alert" not in page
        assert "49" not in page.replace("&#x27;", "").split("<main")[1].split("</main")[0] or "7*7" in page
    assert "<script>alert" not in client.get("/eggs").content.decode()
    assert "<script>alert" not in client.get(f"/containers/new?egg={egg.pk}").content.decode()


def test_hidden_values_are_on_no_page_of_a_member(alice: Any, olga: Any, make: Any, sign_in: Any) -> None:
    """I01: not on the egg's pages, not on the container's, and not by trying values."""
    files = '{"a": {"parser": "file", "find": {"k": "{{server.build.env.SECRET}}"}}}'
    config = {"files": files, "startup": "{}", "stop": "x"}
    taken(variables=[variable("OPEN", default_value="o")], startup="./x", config=config)
    egg = taken(variables=[variable("OPEN", default_value="o"), SECRET], startup="./x {{SECRET}}", config=config)
    container, _ = make("mine", egg=egg)
    Container.objects.filter(pk=container.pk).update(variables={"OPEN": "p", "SECRET": "CANARY-8"})
    addresses = [f"/eggs/{egg.pk}", f"/eggs/{egg.pk}/diff", f"/eggs/{egg.pk}/preview", f"/eggs/{egg.pk}/rollout", f"/containers/new?egg={egg.pk}"]
    addresses += [f"/containers/{container.pk}/{tab}" for tab in ("startup", "settings", "activity")]
    addresses += [f"/api/containers/{container.pk}", "/api/containers", f"/api/eggs/{egg.pk}", f"/api/eggs/{egg.pk}/diff"]
    client = sign_in(alice)
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert "CANARY" not in answer.content.decode(), address
    tried = client.post(f"/eggs/{egg.pk}/preview", {"var.SECRET": "x", "var.OPEN": "q"}).content.decode()
    assert "CANARY" not in tried
    assert "[hidden]" in tried
    manager = sign_in(olga)
    assert "CANARY-7" in manager.get(f"/eggs/{egg.pk}").content.decode()
    assert "CANARY-8" in manager.get(f"/containers/{container.pk}/startup").content.decode()


def test_values_are_tried_and_what_is_wrong_is_told_beside_each(alice: Any, sign_in: Any) -> None:
    egg = taken(
        variables=[variable("LEVEL", default_value="3", rules="required|integer|between:1,9"), variable("ON", default_value="1", rules="boolean")]
    )
    client = sign_in(alice)
    good = client.get(f"/eggs/{egg.pk}/preview").content.decode()
    assert "All values fit." in good
    assert 'max="9"' in good
    bad = client.post(f"/eggs/{egg.pk}/preview", {"var.LEVEL": "77", "port": "1234"}).content.decode()
    assert "It must be from 1 to 9." in bad
    assert "--port 1234" in bad


def test_many_files_at_once_are_told_one_by_one(olga: Any, alice: Any, sign_in: Any) -> None:
    stack = [{"type": 3, "title": "A stack", "repository": {}}, {"title": "Web", "image": "nginx"}]
    files = [
        SimpleUploadedFile("good.json", encoded(egg_file())),
        SimpleUploadedFile("odd.json", encoded(egg_file(name="Odd", author="nobody"))),
        SimpleUploadedFile("bad.json", encoded(egg_file(startup=""))),
        SimpleUploadedFile("stack.json", encoded({"version": "2", "templates": stack})),
    ]
    page = sign_in(olga).post("/eggs/import", {"file": files})
    text = page.content.decode()
    assert page.status_code == 200
    for part in ("good.json", "W_AUTHOR_NOT_EMAIL", "E_STARTUP", "E_NEEDS_GIT", "A stack", "3 new", "2 refused or left out"):
        assert part in text, part
    assert {egg.name for egg in Egg.objects.all()} == {"Small", "Odd", "Web"}
    assert sign_in(alice).post("/eggs/import", {"file": files}).status_code == 403


def test_one_click_deploys_or_says_what_is_missing(alice: Any, node: Any, sign_in: Any) -> None:
    ready, needy = (
        taken(name="Ready to go"),
        import_egg(encoded(egg_file(name="Needy", variables=[variable("KEY", rules="required")])), filename="n.json").eggs[0],
    )
    client = sign_in(alice)
    for expected in ("ready-to-go", "ready-to-go-2"):
        answer = client.post("/containers/deploy", {"egg": str(ready.pk)})
        made = Container.objects.get(name=expected)
        assert answer.headers["Location"] == f"/containers/{made.pk}"
        assert made.owner == alice
    answer = client.post("/containers/deploy", {"egg": str(needy.pk)}, follow=True)
    assert answer.redirect_chain[-1][0] == f"/containers/new?egg={needy.pk}"
    assert "KEY: A value is needed." in answer.content.decode()
    assert client.post("/containers/deploy", {"egg": "x"}).status_code == 404
    assert client.get("/containers/deploy").status_code == 405


def test_an_egg_is_labelled_deleted_and_an_older_version_used_again(olga: Any, alice: Any, sign_in: Any) -> None:
    taken(name="First")
    egg = taken(name="Second")
    client = sign_in(olga)
    client.post(f"/eggs/{egg.pk}/labels", {"category": "Things", "tags": "a, b,,"})
    egg.refresh_from_db()
    assert (egg.category, egg.tags) == ("Things", ["a", "b"])
    client.post(f"/eggs/{egg.pk}/versions/1/use")
    egg.refresh_from_db()
    assert (egg.name, egg.current.number) == ("First", 1)
    for address in ("labels", "versions/2/use", "versions/2/approve", "delete"):
        assert sign_in(alice).post(f"/eggs/{egg.pk}/{address}", {"name": "First"}).status_code == 403
    client.post(f"/eggs/{egg.pk}/delete", {"name": "Secnd"})
    assert Egg.objects.filter(pk=egg.pk).exists()
    client.post(f"/eggs/{egg.pk}/delete", {"name": "First"})
    assert not Egg.objects.filter(pk=egg.pk).exists()


def test_an_approval_needs_the_box_and_the_right(olga: Any, root: Any, alice: Any, sign_in: Any) -> None:
    """A07."""
    egg = taken(lormas={"privileges": [{"kind": "bind", "value": "/etc:/host/etc:ro"}]})
    assert "waits for approval" in sign_in(alice).get("/eggs").content.decode()
    assert sign_in(olga).post(f"/eggs/{egg.pk}/versions/1/approve", {"sure": "1"}).status_code == 403
    client = sign_in(root)
    assert "/etc:/host/etc:ro" in client.get(f"/eggs/{egg.pk}").content.decode()
    client.post(f"/eggs/{egg.pk}/versions/1/approve")
    assert egg.versions.get().needs_approval
    client.post(f"/eggs/{egg.pk}/versions/1/approve", {"sure": "1"})
    assert not egg.versions.get().needs_approval
    client.post(f"/eggs/{egg.pk}/versions/1/approve", {"withdraw": "1"})
    assert egg.versions.get().needs_approval


def test_containers_are_moved_from_the_page_and_back(alice: Any, make: Any, sign_in: Any) -> None:
    egg = taken()
    container, _ = make("mine", egg=egg)
    egg = taken(startup="./new")
    client = sign_in(alice)
    page = client.get(f"/eggs/{egg.pk}/rollout").content.decode()
    assert f'value="{container.pk}"' in page
    assert "Move to version 2" in client.get(f"/containers/{container.pk}/startup").content.decode()
    client.post(f"/eggs/{egg.pk}/rollout", {"version": "2"})
    assert not Rollout.objects.exists(), "nothing was ticked"
    client.post(f"/eggs/{egg.pk}/rollout", {"version": "2", "container": [str(container.pk), "x"]})
    container.refresh_from_db()
    assert container.egg_version.number == 2
    made = Rollout.objects.get()
    assert "at its next start" in client.get(f"/eggs/{egg.pk}/rollout").content.decode()
    client.post(f"/eggs/{egg.pk}/rollouts/{made.pk}/revert")
    container.refresh_from_db()
    assert container.egg_version.number == 1
    assert client.get(f"/eggs/{egg.pk}/rollout?version=99").status_code == 404


def test_the_startup_tab_sets_what_is_the_owners_to_set(alice: Any, olga: Any, charlie: Any, make: Any, sign_in: Any) -> None:
    fixed = variable("FIXED", default_value="f", user_editable=False)
    variables = [variable("LEVEL", rules="required|in:1,2", default_value="1"), fixed, SECRET]
    egg = taken(meta={"version": "PLCN_v3"}, startup_commands={"Normal": "./n", "Debug": "./d"}, variables=variables)
    container, _ = make("mine", egg=egg, image="")
    address = f"/containers/{container.pk}/startup"
    client = sign_in(alice)
    page = client.get(address).content.decode()
    assert "FIXED" in page
    assert "SECRET" not in page
    client.post(address, {"var.LEVEL": "2", "var.FIXED": "mine", "var.SECRET": "mine", "startup": "Debug", "image": "debian:12-slim"})
    container.refresh_from_db()
    assert (container.variables, container.startup, container.image) == ({"LEVEL": "2"}, "Debug", "debian:12-slim")
    wrong = client.post(address, {"var.LEVEL": "9", "startup": "Debug", "image": "debian:12-slim"})
    assert wrong.status_code == 400
    assert "It must be one of: 1, 2." in wrong.content.decode()
    assert client.post(address, {"var.LEVEL": "1", "startup": "Nope", "image": "--x"}).status_code == 400
    sign_in(olga).post(address, {"var.LEVEL": "2", "var.FIXED": "hers", "var.SECRET": "hers", "startup": "", "image": "debian:12-slim"})
    client.post(address, {"var.LEVEL": "1", "startup": "", "image": "debian:12-slim"})
    container.refresh_from_db()
    assert container.variables == {"LEVEL": "1", "FIXED": "hers", "SECRET": "hers"}, "what is not the owner's stays"
    assert sign_in(charlie).get(address).status_code == 404
