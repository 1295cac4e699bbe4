"""What a new version changes is told before containers are moved: each thing once, in order, and nothing hidden to who may not see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eggs.diffing import Change, as_plain, differences
from eggs.formats import parse
from tests.eggs.conftest import REMOVE, egg_file, encoded, variable

SECRET = {"user_viewable": False, "user_editable": False}


def between(old: dict[str, Any], new: dict[str, Any], *, manager: bool = True) -> list[Change]:
    return differences(parse(encoded(egg_file(**old))).definition, parse(encoded(egg_file(**new))).definition, manager=manager)


def told(changes: list[Change]) -> list[tuple[str, str, str, str, str]]:
    return [(change.section, change.what, change.kind, change.before, change.after) for change in changes]


def test_the_same_egg_differs_in_nothing() -> None:
    assert between({}, {}) == []
    assert between({}, {"exported_at": "2030-01-01", "_comment": "x"}) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"startup": "./other"}, [("startup", "Default", "changed", egg_file()["startup"], "./other")]),
        (
            {"docker_images": {"A": "a:1", "B": "b:1"}},
            {"docker_images": {"A": "a:2", "C": "c:1"}},
            [("image", "A", "changed", "a:1", "a:2"), ("image", "B", "removed", "b:1", ""), ("image", "C", "added", "", "c:1")],
        ),
        (
            {"docker_images": {"A": "a:1", "B": "b:1"}},
            {"docker_images": {"B": "b:1", "A": "a:1"}},
            [("image", "Order (the first is the default)", "changed", "A, B", "B, A")],
        ),
        (
            {"variables": [variable("A", default_value="1"), variable("OLD")]},
            {"variables": [variable("A", default_value="2", rules="required", user_editable=False), variable("NEW", default_value="n")]},
            [
                ("variable", "A: default", "changed", "1", "2"),
                ("variable", "A: rules", "changed", "nullable | string", "required"),
                ("variable", "A: people set it", "changed", "yes", "no"),
                ("variable", "OLD", "removed", "default ''", ""),
                ("variable", "NEW", "added", "", "default 'n'"),
            ],
        ),
        (
            {},
            {"lormas": {"privileges": [{"kind": "privileged"}]}},
            [("privilege", "Asks of the machine", "added", "", "privileged")],
        ),
        ({}, {"name": "Other", "author": "you@example.org"}, [("other", "Name", "changed", "Small", "Other"),
                                                              ("other", "Author", "changed", "team@example.org", "you@example.org")]),
        ({}, {"scripts": REMOVE}, [("install", "Image of the installer", "removed", "debian:12", ""), ("install", "Script", "changed", "", "")]),
    ],
)  # fmt: skip
def test_each_change_is_told_with_what_it_was(old: dict[str, Any], new: dict[str, Any], expected: list[Any]) -> None:
    assert told(between(old, new)) == expected


def test_texts_of_several_lines_are_a_unified_diff() -> None:
    script = {"script": "#!/bin/bash\necho one\necho two\n", "container": "debian:12", "entrypoint": "bash"}
    (change,) = between({"scripts": {"installation": script}}, {"scripts": {"installation": {**script, "script": "#!/bin/bash\necho 1\necho two\n"}}})
    assert change.lines == ["@@ -1,3 +1,3 @@", " #!/bin/bash", "-echo one", "+echo 1", " echo two"]
    files = {"a.cfg": {"parser": "file", "find": {"k": "v", "n": 5}}}
    (change,) = between(
        {"config": {**egg_file()["config"], "files": json.dumps(files)}},
        {"config": {**egg_file()["config"], "files": json.dumps({"a.cfg": {"parser": "file", "find": {"k": "w", "n": 5}}})}},
    )
    assert (change.section, change.what, change.lines[1:]) == ("file", "a.cfg", [" parser: file", "-k = v", "+k = w", " n = 5"])
    assert as_plain([change])[0]["lines"] == change.lines


def test_hidden_variables_files_and_scripts_are_not_told_to_members() -> None:
    """I01: a diff would be the way round."""
    files = {**egg_file()["config"], "files": json.dumps({"a": {"parser": "file", "find": {"k": "CANARY-1"}}})}
    new = {"variables": [variable("S", default_value="CANARY-2", **SECRET)], "config": files, "scripts": {"installation": {"script": "CANARY-3"}}}
    old = {"variables": [variable("S", default_value="CANARY-4")]}
    seen = json.dumps(as_plain(between(old, new, manager=False)))
    assert "CANARY" not in seen
    assert "Configuration files or install script" in seen
    assert json.dumps(as_plain(between(old, new))).count("CANARY") >= 4
