"""Hostile eggs (C09): each is refused quickly, none costs memory, time or a 500."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eggs.formats import EggRefused, parse
from tests.eggs.conftest import egg_file, encoded

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "billion laughs": (BOMB.encode(), "yaml"),
    "self reference": (b"a: &a [*a]", "yaml"),
    "merge bomb": (b"a: &a {x: 1}\nb: {<<: [" + b"*a," * 200 + b"*a]}", "yaml"),
    "python object": (b"!!python/object/apply:os.system ['true']", "yaml"),
    "python name": (b"a: !!python/name:os.system", "yaml"),
    "unknown tag": (b"a: !!var images.php", "yaml"),
    "binary tag": (b"a: !!binary aGVsbG8=", "yaml"),
    "two documents": (b"a: 1\n---\nb: 2\n", "yaml"),
    "duplicate key": (b"name: a\nname: b\n", "yaml"),
    "deep flow": (b"[" * 5000 + b"]" * 5000, "yaml"),
    "deep block": ("\n".join(" " * n + "a:" for n in range(200)).encode(), "yaml"),
    "tab indent": (b"a:\n\tb: 1", "yaml"),
    "control characters": (b"a: \x01\x02", "yaml"),
    "nul": (b'a: "\\0"', "yaml"),
    "list as key": (b"? [a, b]\n: 1", "yaml"),
    "many values": (b"a: [" + b"1," * 60_000 + b"1]", "yaml"),
    "utf-16": ("{}".encode("utf-16"), "json"),
    "deep json": (b"[" * 100_000, "json"),
    "deep json object": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "json"),
    "endless number": (b'{"a": ' + b"9" * 100_000 + b"}", "json"),
    "huge exponent": (b'{"a": 1e999999}', "json"),
    "too large": (b'{"a": "' + b"x" * 1_000_001 + b'"}', "json"),
    "yaml named json": (b"a: 1", "json"),
}


@pytest.mark.parametrize(("data", "suffix"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_quickly(data: bytes, suffix: str) -> None:
    """C09: each by a code; what it costs is measured in test_fuzz.py."""
    begun = time.thread_time()  # work, not wall: a busy machine proves nothing
    with pytest.raises(EggRefused) as refused:
        parse(data, filename=f"egg.{suffix}")
    assert refused.value.code.startswith("E_")
    assert time.thread_time() - begun < 2


WRONG: list[Any] = [None, True, 0, -1, 1.5, "", "x", "\u202e", [], [None], [[]], {}, {"": None}, {"a": {"b": []}}]


@pytest.mark.parametrize("field", [*sorted(egg_file()), "uuid", "tags", "icon", "image", "images", "startup_commands", "lormas"])
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_field_of_a_wrong_kind_is_refused_or_ignored_but_never_an_error(field: str, value: Any) -> None:
    """C09: type confusion, 266 combinations."""
    try:
        parse(encoded({**egg_file(), field: value}), filename="egg.json")
    except EggRefused:
        pass


@pytest.mark.parametrize("part", ["process_command", "ports", "data_target", "category", "icon", "grace_seconds"])
@pytest.mark.parametrize(
    "value", [*WRONG, "/../etc", "../x", [1], [{"container": 99999}], [{"container": "80", "protocol": {}}], {"container": 1}], ids=repr
)
def test_our_own_extension_is_no_trap_either(part: str, value: Any) -> None:
    egg = parse(encoded(egg_file(lormas={part: value}))).definition
    assert ".." not in egg.data_target
    assert all(0 <= port.container <= 65535 for port in egg.ports)
    assert all(isinstance(word, str) for word in egg.process_command)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=8
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*egg_file(), "tags", "uuid", "images"]), _json, max_size=4))
def test_whatever_is_inside_it_is_an_egg_or_refused(changes: dict[str, Any]) -> None:
    try:
        parse(encoded({**egg_file(), **changes}))
    except EggRefused:
        pass


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="surrogatepass")), st.sampled_from(["", "a.json", "a.yaml"])
)
def test_no_bytes_do_more_than_be_refused(data: bytes, filename: str) -> None:
    """C09."""
    try:
        parse(data, filename=filename)
    except EggRefused:
        pass
