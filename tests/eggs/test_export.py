"""An export is a file that the other panels' importers take, and that comes back here as the very same egg."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from eggs.definition import EggDefinition
from eggs.formats import EggRefused, export, parse, parse_all
from eggs.formats.reading import read
from eggs.problems import Warnings
from tests.eggs.conftest import REMOVE, egg_file, encoded, variable
from tests.eggs.importers import pelican_refuses, pterodactyl_refuses

SAMPLES = Path(__file__).parents[3] / "shared" / "eggs" / "samples"
FILES = sorted(SAMPLES.iterdir()) if SAMPLES.is_dir() else [Path("none")]
PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 40).decode()


def same(found: EggDefinition, egg: EggDefinition) -> bool:
    """Else says what differs."""
    wrong = {name: (getattr(found, name), getattr(egg, name)) for name in egg.__struct_fields__ if getattr(found, name) != getattr(egg, name)}
    assert not wrong
    assert found.digest() == egg.digest(), "so that a file that comes back makes no new version"
    return True


def comes_back(egg: EggDefinition) -> None:
    """By both formats and both encodings."""
    old = export.as_json(export.ptdl_v2(egg))
    assert pterodactyl_refuses(old) == []
    assert same(parse(old, filename="egg.json").definition, egg)
    raw = export.plcn_v3(egg)
    for data, name in ((export.as_json(raw), "egg.json"), (export.as_yaml(raw), "egg.yaml")):
        assert pelican_refuses(read(data, filename=name, warnings=Warnings())) == []
        assert same(parse(data, filename=name).definition, egg)


@pytest.mark.samples
@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_sample_comes_back_as_it_was(path: Path) -> None:
    try:
        found = parse_all(path.read_bytes(), filename=path.name).eggs
    except EggRefused:
        return
    for one in found:
        comes_back(one.definition)


ODD: dict[str, dict[str, Any]] = {
    "plain": {},
    "author without an address": {"author": "somebody"},
    "reserved names": {"variables": [variable("SERVER_PORT"), variable("HOME"), variable("home")], "startup": "./x {{SERVER_PORT}} $HOME"},
    "two variables of one name": {"variables": [variable("A", name="x"), variable("B", name="x"), variable("A", name="x")]},
    "an uuid that is none": {"uuid": "mine"},
    "no rules": {"variables": [variable("A", rules=""), variable("B", rules=["regex:/a|b/", "max:3"])]},
    "nothing to stop": {"config": {"files": "{}", "startup": "{}", "stop": None}},
    "no installer": {"scripts": REMOVE},
    "texts where lists belong": {"features": " ", "tags": " a ", "file_denylist": " *.sh"},
    "installer without an image": {"scripts": {"installation": {"script": "echo", "container": "", "entrypoint": "ash"}}},
    "several commands": {"meta": {"version": "PLCN_v3"}, "startup": REMOVE, "startup_commands": {"B": "./b", "A": "./a"}},
    "a picture and tags": {"meta": {"version": "PLCN_v3"}, "icon": PIXEL, "tags": ["a", "b"], "startup_commands": {"Default": "./x"}},
    "ready by several lines": {"config": {"files": "{}", "startup": '{"done": ["a", ""], "strip_ansi": true}', "stop": "^C"}},
    "files in every shape": {
        "config": {
            "files": json.dumps({"a.yml": {"parser": "yaml", "create_file": False, "find": {"a.*.b": {"regex:^x": "y"}, "n": 5, "t": True}}}),
            "startup": "{}",
            "stop": "^^C",
        }
    },
    "ours": {"lormas": {"category": "Games", "icon": "hand", "process_command": ["sh", "-c", "x"], "ports": [{"container": 1, "protocol": "udp"}]}},
    "wishes": {"lormas": {"privileges": [{"kind": "bind", "value": "/:/host:ro"}, {"kind": "privileged"}], "notes": "n", "data_target": "/data"}},
    "as its image": {"lormas": {"runs": "image", "command": ["a b", "{{X}}"], "data_target": ""}, "startup": REMOVE},
    "texts that YAML reads differently": {
        "description": "no: #x\n  - yes\n\ttab\u2028x \x7f\n",
        "variables": [variable("A", default_value="0o7", description="*a &b !c\n"), variable("B", default_value=" 1.0 ", name="null")],
        "docker_images": {"1.10": "debian:12", "true": "debian:11", "<<": "debian:10"},
    },
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD.keys())
def test_odd_eggs_come_back_too(changes: dict[str, Any]) -> None:
    comes_back(parse(encoded(egg_file(**changes))).definition)


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_name = st.text("ABZ_09ab", min_size=1, max_size=6)
_variable = st.fixed_dictionaries(
    {
        "env_variable": _name | st.sampled_from(["SERVER_PORT", "UUID", "home"]), "name": _text, "description": _text, "default_value": _text,
        "rules": st.lists(st.sampled_from(["required", "string", "max:3", "in:a, b,", "regex:/a|b/i", "between:1,2"]) | _text, max_size=3),
        "sort": st.none() | st.integers(0, 9), "user_viewable": st.booleans(), "user_editable": st.booleans(),
    }
)  # fmt: skip
_file = st.fixed_dictionaries({"parser": _text, "find": st.dictionaries(_text, _text, max_size=3)})
_egg = st.fixed_dictionaries(
    {
        "meta": st.just({"version": "PLCN_v3"}), "description": _text, "author": _text, "variables": st.lists(_variable, max_size=4),
        "startup_commands": st.dictionaries(_text, _text.filter(str.strip), min_size=1, max_size=3), "tags": st.lists(_text, max_size=3),
        "docker_images": st.dictionaries(_text, st.sampled_from(["debian:12", "~local/image", "a.b/c:1@sha256:" + "0" * 64]), min_size=1, max_size=3),
        "scripts": st.fixed_dictionaries({"installation": st.fixed_dictionaries({"script": _text, "container": _text, "entrypoint": _text})}),
        "config": st.fixed_dictionaries(
            {
                "files": st.dictionaries(_text, _file, max_size=2),
                "startup": st.fixed_dictionaries({"done": _text | st.lists(_text, max_size=3)}), "stop": _text,
            }
        ),
    }
)  # fmt: skip


@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])
@given(_egg)
def test_whatever_comes_in_comes_back(changes: dict[str, Any]) -> None:
    try:
        egg = parse(encoded({**egg_file(), **changes, "startup": None})).definition
    except EggRefused:
        return
    comes_back(egg)
