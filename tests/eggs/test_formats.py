"""Egg files of all five versions become one definition; what can't run is refused by code, what is odd is warned of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eggs.configfiles import edits_of
from eggs.definition import EggDefinition
from eggs.formats import EggRefused, export, parse
from tests.eggs.conftest import REMOVE, egg_file, encoded, variable


def codes(raw: Any) -> set[str]:
    return {warning.code for warning in parse(encoded(raw)).warnings}


def test_a_good_egg_comes_in_whole_and_without_a_warning() -> None:
    parsed = parse(encoded(egg_file()))
    egg = parsed.definition
    assert (parsed.version, parsed.warnings) == ("PTDL_v2", [])
    assert egg.docker_images == [("Java 21", "ghcr.io/example/yolks:java_21"), ("Plain", "debian:12-slim")]
    assert egg.startup_commands == [("Default", "./server --port {{SERVER_PORT}} --name {{SERVER_NAME}}")]
    assert egg.config_files[0].find == [("server-port", "{{server.build.default.port}}")]
    assert (egg.startup_done, egg.stop) == (["Done ("], "stop")
    assert egg.install.script == "#!/bin/bash\necho hi\n", "CRLF would break the script's first line"
    assert egg.variables[0].rules == ["required", "string", "max:20"]
    assert EggDefinition.from_json(json.loads(json.dumps(egg.to_json()))) == egg


def test_the_order_of_conditions_outlives_a_database_that_sorts_keys() -> None:
    """JSONB does: the shorter key first."""
    find = {"regex:^first": "a", "any": "b", "regex:.*": "c"}
    files = {"a.yml": {"parser": "yaml", "find": {"k": find, "one": {"x": 1}, "odd": ["x"], "odder": [["x", "y"]], "n": 5}}}
    egg = parse(encoded(egg_file(config={"files": json.dumps(files), "startup": {}, "stop": "x"}))).definition
    kept = json.loads(json.dumps(egg.to_json(), sort_keys=True))
    again = EggDefinition.from_json(kept)
    assert again == egg
    assert list(again.config_files[0].find[0][1]) == list(find)
    edits = edits_of(again.config_files, data_target="/home/container")
    assert edits[0].finds == [("k", {"regex:^first": "a"}), ("k", {"any": "b"}), ("k", {"regex:.*": "c"}), ("one", {"x": 1}), ("n", 5)]


REFUSED: dict[str, tuple[str, Any]] = {
    "empty": ("E_EMPTY", b""),
    "blank": ("E_EMPTY", b" \n\t"),
    "trailing comma": ("E_SYNTAX", b'{"a": 1,}'),
    "nan": ("E_SYNTAX", b'{"a": NaN}'),
    "latin-1": ("E_SYNTAX", '{"name": "é"}'.encode("latin-1")),
    "lone surrogate": ("E_SYNTAX", b'{"name": "\\ud800"}'),
    "nul": ("E_NUL", encoded(egg_file(name="a\x00b"))),
    "list": ("E_NOT_MAPPING", b"[]"),
    "no meta": ("E_VERSION", {"name": "x"}),
    "meta a text": ("E_VERSION", {"meta": "PTDL_v2"}),
    "unknown version": ("E_VERSION", egg_file(meta={"version": "PTDL_v3"})),
    "version in lower case": ("E_VERSION", egg_file(meta={"version": "ptdl_v2"})),
    "no name": ("E_NAME", egg_file(name=REMOVE)),
    "blank name": ("E_NAME", egg_file(name="  ")),
    "name a number": ("E_NAME", egg_file(name=5)),
    "no images": ("E_IMAGES", egg_file(docker_images={})),
    "image a picture": ("E_IMAGES", egg_file(docker_images=REMOVE, image="data:image/png;base64,AA==")),
    "swapped map": ("E_IMAGE_REF", egg_file(docker_images={"ghcr.io/x/y:1": "Starbound"})),
    "image with a blank": ("E_IMAGE_REF", egg_file(docker_images={"x": "a b"})),
    "image with an option": ("E_IMAGE_REF", egg_file(docker_images={"x": "--privileged"})),
    "image a number": ("E_IMAGE_REF", egg_file(docker_images={"x": 5})),
    "startup null": ("E_STARTUP", egg_file(startup=None)),
    "startup blank": ("E_STARTUP", egg_file(startup=" ")),
    "variables a text": ("E_VARIABLES", egg_file(variables="none")),
    "variable without a name": ("E_VARIABLE", egg_file(variables=[{"name": "x"}])),
    "variable with a dash": ("E_VARIABLE", egg_file(variables=[variable("A-B")])),
    "variable with a line end": ("E_VARIABLE", egg_file(variables=[variable("A\n")])),
    "config.files no json": ("E_CONFIG", egg_file(config={"files": "{nope", "startup": "{}", "stop": "x"})),
    "config.startup a list": ("E_CONFIG", egg_file(config={"files": "{}", "startup": "[1]", "stop": "x"})),
}


@pytest.mark.parametrize(("code", "raw"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_run_is_refused_with_its_code(code: str, raw: Any) -> None:
    """C08, C09."""
    with pytest.raises(EggRefused) as refused:
        parse(raw if isinstance(raw, bytes) else encoded(raw), filename="egg.json")
    assert refused.value.code == code
    assert refused.value.status == 422
    assert refused.value.detail


WARNED: dict[str, tuple[str, Any]] = {
    "W_BOM": ("W_BOM", b"\xef\xbb\xbf" + encoded(egg_file())),
    "W_DUP_KEYS": ("W_DUP_KEYS", encoded(egg_file()).replace(b'"name": "Small"', b'"name": "Old", "name": "Small"')),
    "W_AUTHOR_NOT_EMAIL": ("W_AUTHOR_NOT_EMAIL", egg_file(author="someone")),
    "W_IMAGES_LIST": ("W_IMAGES_LIST", egg_file(docker_images=["debian:12"])),
    "W_IMAGES_FALLBACK": ("W_IMAGES_FALLBACK", egg_file(docker_images=REMOVE, images=["debian:12"])),
    "W_IMAGES_STRING": ("W_IMAGES_STRING", egg_file(meta={"version": "PTDL_v1"}, docker_images=REMOVE, images="debian:12")),
    "W_IMAGE_TRIMMED": ("W_IMAGE_TRIMMED", egg_file(docker_images={"x": " debian:12 "})),
    "W_RESERVED_ENV": ("W_RESERVED_ENV", egg_file(variables=[variable("server_port")])),
    "W_DUP_ENV": ("W_DUP_ENV", egg_file(variables=[variable("A", name="1"), variable("A", name="2")])),
    "W_DUP_VARNAME": ("W_DUP_VARNAME", egg_file(variables=[variable("A", name="x"), variable("B", name="x")])),
    "W_NONSTRING_DEFAULT": ("W_NONSTRING_DEFAULT", egg_file(variables=[variable("A", default_value=5)])),
    "W_RULES_MAP": ("W_RULES_MAP", egg_file(variables=[variable("A", rules={})])),
    "W_UNKNOWN_RULE": ("W_UNKNOWN_RULE", egg_file(variables=[variable("A", rules="string|port")])),
    "W_BAD_REGEX_RULE": ("W_BAD_REGEX_RULE", egg_file(variables=[variable("A", rules=["regex:latest-stable"])])),
    "W_VARIABLES_MISSING": ("W_VARIABLES_MISSING", egg_file(variables=REMOVE)),
    "W_TAGS_STRING": ("W_TAGS_STRING", egg_file(tags="{}")),
    "W_DONE_MISSING": ("W_DONE_MISSING", egg_file(config={"files": "{}", "startup": "{}", "stop": "x"})),
    "W_DONE_EMPTY": ("W_DONE_EMPTY", egg_file(config={"files": "{}", "startup": '{"done": ""}', "stop": "x"})),
    "W_STOP_MISSING": ("W_STOP_MISSING", egg_file(config={"files": "{}", "startup": '{"done": "x"}', "stop": None})),
    "W_CONFIG_NULL": ("W_CONFIG_NULL", egg_file(config={"files": None, "startup": '{"done": "x"}', "stop": "x"})),
    "W_ENTRY_WITHOUT_FIND": (
        "W_ENTRY_WITHOUT_FIND",
        egg_file(config={"files": '{"a": {"parser": "file"}}', "startup": '{"done": "x"}', "stop": "x"}),
    ),
}


@pytest.mark.parametrize(("code", "raw"), WARNED.values(), ids=WARNED.keys())
def test_what_is_only_odd_comes_in_with_its_warning(code: str, raw: Any) -> None:
    parsed = parse(raw if isinstance(raw, bytes) else encoded(raw), filename="egg.json")
    assert [warning.code for warning in parsed.warnings] == [code]
    assert parsed.definition.name == "Small"


def test_older_and_newer_versions_give_the_same_egg() -> None:
    base = parse(encoded(egg_file())).definition
    commands = {"Default": egg_file()["startup"]}
    for version, changes in {
        "PTDL_v1": {},
        "PLCN_v1": {"variables": [variable("SERVER_NAME", default_value="A server", rules=["required", "string", "max:20"], sort=1)]},
        "PLCN_v2": {"config": {**egg_file()["config"], "startup": {"done": "Done ("}}},
        "PLCN_v3": {"startup": REMOVE, "startup_commands": commands},
    }.items():
        parsed = parse(encoded(egg_file(meta={"version": version}, **changes)))
        assert parsed.version == version
        assert parsed.definition.docker_images == base.docker_images
        assert parsed.definition.startup_commands == base.startup_commands
        assert parsed.definition.startup_done == base.startup_done
        assert parsed.definition.variables[0].rules == base.variables[0].rules


def test_the_oldest_form_names_one_image() -> None:
    raw = egg_file(meta={"version": "PTDL_v1"}, docker_images=REMOVE, image="quay.io/example/core:java")
    assert parse(encoded(raw)).definition.docker_images == [("quay.io/example/core:java", "quay.io/example/core:java")]


YAML_EGG = """
meta: {version: PLCN_v3}
name: From YAML
author: team@example.org
uuid: 3885c37c-f1da-4979-860d-4c200a8ca564
exported_at: 2025-10-07T10:00:00+00:00
tags: {  }
features: [eula]
docker_images: {21: 'debian:12', 'No': 'debian:11'}
startup_commands:
  Default: ./run
  Debug: ./run --debug
config: {files: {}, startup: {done: [Ready, Up]}, logs: {}, stop: ^C}
variables:
  - {name: Flag, env_variable: FLAG, default_value: no, rules: [boolean]}
"""


def test_yaml_comes_in_too() -> None:
    egg = parse(YAML_EGG.encode(), filename="egg.yaml").definition
    assert egg.startup_commands == [("Default", "./run"), ("Debug", "./run --debug")]
    assert egg.docker_images == [("21", "debian:12"), ("No", "debian:11")]
    assert egg.startup_done == ["Ready", "Up"]
    assert egg.variables[0].default_value == "no", "YAML 1.2: no is a word"


@pytest.mark.parametrize("name", ["PTDL_v2", "PLCN_v3"])
def test_an_export_comes_back_as_the_same_egg(name: str) -> None:
    first = parse(encoded(egg_file(lormas={"category": "Games", "icon": "hand", "process_command": ["sh", "-c", "x"]}))).definition
    raw = export.EXPORTS[name](first)
    again = parse(export.as_json(raw), filename="egg.json")
    assert (again.version, again.warnings) == (name, [])
    assert again.definition.to_json() == {**first.to_json(), **({"variables": again.definition.to_json()["variables"]} if name == "PLCN_v3" else {})}
    if name == "PLCN_v3":
        assert parse(export.as_yaml(raw), filename="egg.yaml").definition == again.definition
