"""Portainer template files of all three versions become eggs that start as their images do; what can't be kept is told (EGGS.md section 12)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eggs.formats import Contents, EggRefused, parse_all
from eggs.rendering import render

SAMPLE = Path(__file__).parents[3] / "shared" / "eggs" / "samples" / "portainer-templates-v3.json"


def read(*templates: Any, version: str | None = "3") -> Contents:
    raw = list(templates) if version is None else {"version": version, "templates": list(templates)}
    return parse_all(json.dumps(raw).encode(), filename="templates.json")


def one(**changes: Any) -> Any:
    return read({"type": 1, "title": "Web", "description": "d", "image": "nginx:1", **changes}).eggs[0]


def codes(found: Any) -> list[str]:
    return [warning.code for warning in found.warnings]


def test_a_plain_template_comes_in_whole() -> None:
    found = one(
        categories=["web", "proxy"], ports=["80/tcp", "443"], volumes=[{"container": "/data"}], command="nginx -g 'daemon off;'", interactive=True,
        env=[{"name": "A", "label": "An A", "description": "what it is", "default": "1"}], note="<p>Read <b>this</b></p>",
    )  # fmt: skip
    egg = found.definition
    assert (found.version, codes(found)) == ("PORTAINER_v3", [])
    assert (egg.runs, egg.default_image, egg.command, egg.tty) == ("image", "nginx:1", ["nginx", "-g", "daemon off;"], True)
    assert (egg.category, egg.tags, egg.notes, egg.data_target) == ("web", ["web", "proxy"], "Read this", "/data")
    assert [(port.container, port.protocol) for port in egg.ports] == [(80, "tcp"), (443, "tcp")]
    assert [(v.env_variable, v.name, v.description, v.default_value) for v in egg.variables] == [("A", "An A", "what it is", "1")]
    made = render(egg, values={"A": "2"})
    assert (made.errors, made.env["A"], made.command, made.entrypoint) == ([], "2", ["nginx", "-g", "daemon off;"], None)
    assert "STARTUP" not in made.env


@pytest.mark.parametrize(("version", "kind"), [(None, "container"), (None, None), ("2", 1), ("3", 1)])
def test_all_three_versions_are_read(version: str | None, kind: Any) -> None:
    found = read({"type": kind, "title": "Web", "image": "nginx"} if kind else {"title": "Web", "image": "nginx"}, version=version).eggs[0]
    assert (found.definition.name, found.version) == ("Web", f"PORTAINER_v{version or '1'}")


STACK = {"type": 3, "title": "Stack", "repository": {"url": "https://example.org/x", "stackfile": "c.yml"}}


@pytest.mark.parametrize(
    ("template", "code"),
    [
        (STACK, "E_NEEDS_GIT"),
        ({**STACK, "type": 2}, "E_NEEDS_GIT"),
        ({**STACK, "type": 4}, "E_NEEDS_GIT"),
        ({**STACK, "type": "stack"}, "E_NEEDS_GIT"),
        ({"type": 1, "title": "Win", "image": "x", "platform": "windows"}, "E_PLATFORM"),
        ({"type": 1, "title": "None"}, "E_IMAGES"),
        ({"type": 1, "title": "Bad", "image": "--privileged"}, "E_IMAGE_REF"),
        ({"type": 1, "image": "x"}, "E_NAME"),
        ({"type": 1, "title": "Quote", "image": "x", "command": "a 'b"}, "E_STARTUP"),
        ("text", "E_NOT_MAPPING"),
    ],
)
def test_what_can_not_run_is_left_out_by_name_and_the_rest_comes_in(template: Any, code: str) -> None:
    found = read({"title": "Good", "image": "nginx"}, template)
    assert [egg.definition.name for egg in found.eggs] == ["Good"]
    assert [skipped.code for skipped in found.skipped] == [code]
    assert found.skipped[0].message
    with pytest.raises(EggRefused) as refused:
        read({"repository": {}, "title": "x"}, template, version="2")
    assert refused.value.status == 422


def test_what_asks_for_the_machine_is_a_wish_with_a_warning() -> None:
    """A07: nothing of it counts before an administrator approves."""
    found = one(
        privileged=True, network="host", administrator_only=True,
        volumes=[{"container": "/s", "bind": "/var/run/docker.sock"}, {"container": "/etc2", "bind": "/etc", "readonly": True}, "/own"],
    )  # fmt: skip
    wishes = [(wish.kind, wish.value) for wish in found.definition.privileges]
    assert wishes == [
        ("bind", "/var/run/docker.sock:/s"), ("bind", "/etc:/etc2:ro"), ("privileged", ""), ("host_network", ""), ("administrator_only", ""),
    ]  # fmt: skip
    assert codes(found) == ["W_PRIVILEGED"]
    assert found.definition.data_target == "/own"
    assert [wish.kind for wish in one(**{"administrator-only": True}).definition.privileges] == ["administrator_only"]


@pytest.mark.parametrize("bind", ["/../etc", "/a/../b", "etc:/x:/y", "/a\nb", "/a,b", "-v"])
def test_a_mount_that_is_not_well_formed_is_left_out(bind: str) -> None:
    """A02, A07."""
    assert [
        wish.value for wish in one(volumes=[{"container": "/x", "bind": bind}]).definition.privileges if ".." in wish.value or "\n" in wish.value
    ] == []


@pytest.mark.parametrize(
    ("text", "ports", "code"),
    [
        ("80/tcp", [(80, "tcp")], None),
        ("53/udp", [(53, "udp")], None),
        ("8080:80/tcp", [(80, "tcp")], "W_HOST_PORT"),
        (":80/tcp", [(80, "tcp")], None),
        ("${P}:${P}/tcp", [], "W_PORT"),
        ("80-82", [(80, "tcp"), (81, "tcp"), (82, "tcp")], None),
        ("99999/tcp", [], "W_PORT"),
        ("80/sctp", [], "W_PORT"),
        ("x", [], "W_PORT"),
    ],
)
def test_ports_in_every_spelling(text: str, ports: list[tuple[int, str]], code: str | None) -> None:
    found = one(ports=[text])
    assert [(port.container, port.protocol) for port in found.definition.ports] == ports
    assert codes(found) == ([code] if code else [])


def test_variables_in_every_spelling() -> None:
    found = one(
        env=[
            {"name": "ASKED"}, {"name": "PRESET", "default": "p", "preset": True}, {"name": "OLD", "set": "s"}, {"name": "FLAG", "default": True},
            {"name": "CHOICE", "select": [{"text": "One", "value": "1"}, {"text": "Two", "value": 'a,"b', "default": True}]}, {"name": "A-B"}, {},
        ]
    )  # fmt: skip
    variables = {variable.env_variable: variable for variable in found.definition.variables}
    assert list(variables) == ["ASKED", "PRESET", "OLD", "FLAG", "CHOICE"]
    assert {name for name, variable in variables.items() if not variable.user_viewable} == {"PRESET", "OLD"}
    assert [variable.default_value for variable in variables.values()] == ["", "p", "s", "true", 'a,"b']
    assert sorted(codes(found)) == ["W_ENV", "W_NONSTRING_DEFAULT"]
    assert not render(found.definition, values={"CHOICE": 'a,"b'}, privileged=False).errors
    assert [error.field for error in render(found.definition, values={"CHOICE": "3"}, privileged=False).errors] == ["variables.CHOICE"]


def test_words_of_strangers_become_plain_text() -> None:
    """H01: a note is HTML in 1,572 of the templates known."""
    note = (
        "<h1>Hi</h1><script>alert(1)</script><svg onload=alert(2)><style>x</style>a &lt;b&gt; 1 < 2<br>c<a href='javascript:x'>link</a><!-- no --><p"
    )
    assert one(note=note.replace("<svg onload=alert(2)>", "")).definition.notes == "Hi\na <b> 1 < 2\nclink"
    assert one(note=note).definition.notes == "Hi", "an element that never ends takes the rest along"
    assert one(note="<iframe>" * 5000).definition.notes == ""


@pytest.mark.samples
def test_the_real_file_comes_in() -> None:
    found = parse_all(SAMPLE.read_bytes(), filename=SAMPLE.name)
    raw = json.loads(SAMPLE.read_bytes())
    containers = [item for item in raw["templates"] if item["type"] == 1 and item.get("platform") != "windows"]
    assert len(found.eggs) == len(containers)
    assert len(found.eggs) + len(found.skipped) == len(raw["templates"])
    assert {one.code for one in found.skipped} <= {"E_NEEDS_GIT", "E_PLATFORM"}
    for one_found in found.eggs:
        assert render(one_found.definition, values={}).image == one_found.definition.default_image


@pytest.mark.parametrize(
    ("policy", "told"), [("no", True), ("on-failure", True), ("always", True), ("unless-stopped", False), ("", False), (None, False)]
)
def test_a_restart_policy_that_is_not_the_usual_one_is_told_and_not_dropped_in_silence(policy: Any, told: bool) -> None:
    found = one(restart_policy=policy)
    assert codes(found) == (["W_RESTART"] if told else [])
    assert all(f"'{policy}' is left out: choose it with the container" in warning.message for warning in found.warnings)
