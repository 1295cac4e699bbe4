"""`/api/eggs`: who sees, who manages, what a file is told, what a preview shows."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from eggs import selectors
from eggs.models import Egg
from tests.eggs.conftest import egg_file, encoded, variable

pytestmark = pytest.mark.redis


def client(person: Any) -> APIClient:
    made = APIClient()
    made.force_authenticate(person)
    return made


def send(person: Any, raw: Any, *, path: str = "/api/eggs/import", kind: str = "application/json") -> Any:
    return client(person).post(path, raw if isinstance(raw, bytes | str) else encoded(raw), content_type=kind)


def test_an_operator_imports_and_a_member_sees(olga: Any, alice: Any) -> None:
    answer = send(olga, egg_file(tags=["minecraft"]))
    assert answer.status_code == 201
    egg = answer.json()["eggs"][0]
    assert (egg["name"], egg["version"], answer.json()["warnings"]) == ("Small", 1, [])
    seen = client(alice).get(f"/api/eggs/{egg['id']}").json()
    assert seen["docker_images"][0] == {"label": "Java 21", "image": "ghcr.io/example/yolks:java_21"}
    assert seen["variables"][0]["rules"] == ["required", "string", "max:20"]
    assert client(alice).get("/api/eggs?tag=minecraft").json()["count"] == 1
    assert client(alice).get("/api/eggs?tag=mine").json()["count"] == 0
    assert client(alice).get("/api/eggs?search=smal&category=").json()["count"] == 1
    assert client(alice).get(f"/api/eggs/{egg['id']}/versions").json()["results"][0]["source_format"] == "PTDL_v2"


def test_a_tag_is_one_however_it_is_written(olga: Any, alice: Any) -> None:
    for number, tags in enumerate((["Java", "java", "ä b"], ["java"], ["JAVA"], ["javascript"])):
        send(olga, egg_file(name=f"egg {number}", tags=tags))
    assert dict(selectors.shelves(Egg.objects.all())["tags"]) == {"java": 3, "ä b": 1, "javascript": 1}
    assert client(alice).get("/api/eggs?tag=Java").json()["count"] == 3
    assert client(alice).get("/api/eggs", {"tag": "ä b"}).json()["count"] == 1


def test_members_and_strangers_change_nothing(alice: Any, charlie: Any, imported: Any) -> None:
    """D11: each verb."""
    egg = imported()
    for person in (alice, charlie):
        assert send(person, egg_file(name="Mine")).status_code == 403
        assert send(person, egg_file(name="Mine"), path="/api/eggs").status_code == 403
        assert client(person).delete(f"/api/eggs/{egg.pk}").status_code == 403
        assert client(person).get(f"/api/eggs/{egg.pk}/export").status_code == 403
    assert Egg.objects.count() == 1
    assert APIClient().get("/api/eggs").status_code == 401


def test_files_come_as_body_as_form_and_as_yaml(olga: Any) -> None:
    form = {"file": SimpleUploadedFile("egg.json", encoded(egg_file(name="Form")))}
    assert client(olga).post("/api/eggs/import", form, format="multipart").status_code == 201
    assert (
        send(olga, "meta: {version: PLCN_v3}\nname: Y\nauthor: a@b.c\ndocker_images: {a: 'x:1'}\nstartup: ./x\n", kind="application/yaml").status_code
        == 201
    )
    assert send(olga, egg_file(name="Root"), path="/api/eggs").status_code == 201
    assert send(olga, egg_file(name="Camel", variables=[variable("A")]), path="/api/v1/eggs/import").json()["data"]["eggs"][0]["isBundled"] is False


def test_of_several_files_the_good_ones_come_in(olga: Any) -> None:
    files = [SimpleUploadedFile("good.json", encoded(egg_file())), SimpleUploadedFile("bad.json", b"{}")]
    body = client(olga).post("/api/eggs/import", {"file": files}, format="multipart").json()
    assert [egg["name"] for egg in body["eggs"]] == ["Small"]
    assert body["skipped"] == [{"name": "bad.json", "code": "E_VERSION", "message": body["skipped"][0]["message"]}]
    files = [SimpleUploadedFile("a.json", b"[]"), SimpleUploadedFile("b.json", b"{}")]
    answer = client(olga).post("/api/eggs/import", {"file": files}, format="multipart")
    assert (answer.status_code, [error["code"] for error in answer.json()["errors"]]) == (422, ["E_NOT_MAPPING", "E_VERSION"])


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 422, "E_EMPTY"),
        (b"{", 422, "E_SYNTAX"),
        (b"[]", 422, "E_NOT_MAPPING"),
        (egg_file(name=""), 422, "E_NAME"),
        (b"x" * 1_000_001, 413, "too_large"),
    ],
)
def test_a_refused_file_says_its_code_and_leaves_nothing(olga: Any, raw: Any, status: int, code: str) -> None:
    answer = send(olga, raw)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Egg.objects.exists()
    assert client(olga).post("/api/eggs/import", {}, format="multipart").status_code == 400


def test_an_egg_that_is_not_there_is_404(alice: Any, olga: Any) -> None:
    for path in ("", "/versions", "/export"):
        assert client(olga).get(f"/api/eggs/{uuid4()}{path}").json()["code"] == "not_found"
    assert client(alice).post(f"/api/eggs/{uuid4()}/preview", {}, format="json").status_code == 404
    assert client(olga).get("/api/eggs/not-a-uuid").status_code == 404


def test_exports_come_back_in(olga: Any, imported: Any) -> None:
    egg = imported()
    for query in ("", "?format=PTDL_v2", "?format=PLCN_v3", "?format=PLCN_v3&encoding=yaml"):
        answer = client(olga).get(f"/api/eggs/{egg.pk}/export{query}")
        assert answer.status_code == 200
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="egg-small.')
        kind = answer.headers["Content-Type"]
        assert send(olga, answer.content, kind=kind).status_code == 201
    assert client(olga).get(f"/api/eggs/{egg.pk}/export?format=PTDL_v2&encoding=yaml").status_code == 400
    assert client(olga).get(f"/api/eggs/{egg.pk}/export?format=exe").status_code == 400


def test_a_preview_shows_what_a_container_would_get_and_makes_nothing(alice: Any, imported: Any) -> None:
    egg = imported()
    body = {"values": {"SERVER_NAME": "My server"}, "image": "debian:12", "port": 25570, "memory_bytes": 1024**3}
    shown = client(alice).post(f"/api/eggs/{egg.pk}/preview", body, format="json").json()
    assert shown["startup"] == "./server --port 25570 --name My server"
    assert shown["environment"]["SERVER_MEMORY"] == "1024"
    assert shown["config_files"] == [{"path": "server.properties", "parser": "properties", "find": [["server-port", "25570"]]}]
    assert shown["errors"] == []
    wrong = (
        client(alice)
        .post(f"/api/eggs/{egg.pk}/preview", {"values": {"SERVER_NAME": "x" * 21, "NOPE": "1"}, "image": "--privileged"}, format="json")
        .json()
    )
    assert {error["field"] for error in wrong["errors"]} == {"variables.SERVER_NAME", "variables.NOPE", "image"}
    assert client(alice).post(f"/api/eggs/{egg.pk}/preview", {"value": {}}, format="json").status_code == 400


def test_hidden_variables_are_hidden_from_members(alice: Any, olga: Any, imported: Any) -> None:
    """I01: not by detail, not by preview, not by a configuration file."""
    secret = variable("SECRET", default_value="CANARY-1", user_viewable=False, user_editable=False)
    files = '{"a": {"parser": "file", "find": {"k": "{{server.build.env.SECRET}}"}}}'
    egg = imported(startup="./x {{SECRET}}", variables=[secret], config={"files": files, "startup": "{}", "stop": "x"})
    for answer in (client(alice).get(f"/api/eggs/{egg.pk}"), client(alice).post(f"/api/eggs/{egg.pk}/preview", {}, format="json")):
        assert answer.status_code == 200
        assert "CANARY-1" not in answer.content.decode()
    assert "CANARY-1" in client(olga).get(f"/api/eggs/{egg.pk}").content.decode()


def test_deleting_is_for_managers_and_refused_while_in_use(olga: Any, alice: Any, imported: Any) -> None:
    from containers.models import Container

    egg = imported()
    container = Container.objects.create(name="c", owner=alice, egg=egg, egg_version=egg.current, image="x")
    answer = client(olga).delete(f"/api/eggs/{egg.pk}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    container.delete()
    assert client(olga).delete(f"/api/eggs/{egg.pk}").status_code == 204
    assert client(olga).get(f"/api/eggs/{egg.pk}").status_code == 404
