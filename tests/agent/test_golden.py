"""Each kind of message has a golden file: what is written there must be read for ever, and written the same (ARCHITECTURE rule 8).

`LORMAS_WRITE_GOLDEN=1` writes files for kinds that have none yet; existing ones are never changed by a test.
"""

from __future__ import annotations

import json
import os
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.protocol import messages as wire

FOLDER = Path(__file__).parent / "golden"
ID = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"


def full(kind: Any, name: str = "") -> Any:
    """A value of a type with every field set, deterministic."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: full(hints[field.name], field.name) for field in msgspec.structs.fields(kind)})
    if origin is typing.Literal:
        return next(value for value in arguments if value)
    if origin is list:
        return [full(arguments[0], name)]
    if origin is dict:
        return {"key": full(arguments[1], name)}
    if arguments:  # a union with None
        return full(next(a for a in arguments if a is not type(None)), name)
    if kind is str:
        return ID if name.endswith("id") or name == "fenced" else f"{name} ü"
    return {int: 7, float: 1.5, bool: True}.get(kind, "any")


def kept(new: Any, old: Any) -> Any:
    """`new` without what `old` does not have, at any depth: adding is free."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: kept(new.get(key), value) for key, value in old.items()}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [kept(one, other) for one, other in zip(new, old, strict=True)]
    return new


KINDS = [("agent", kind) for kind in typing.get_args(wire.AgentMessage)] + [
    ("panel", kind) for kind in typing.get_args(wire.PanelMessage) if kind is not wire.Oops
]


@pytest.mark.parametrize(("side", "kind"), KINDS, ids=[kind.__name__ for _, kind in KINDS])
def test_golden(side: str, kind: Any) -> None:
    tag = kind.__struct_config__.tag
    file = FOLDER / f"{side}_{tag}.json"
    message = full(kind)
    if not file.exists() and os.environ.get("LORMAS_WRITE_GOLDEN"):
        file.write_bytes(msgspec.json.format(wire.encode(message), indent=1) + b"\n")
    decode: Any = wire.decode_from_agent if side == "agent" else wire.decode_from_panel
    written = decode(file.read_bytes())
    assert isinstance(written, kind)
    old = json.loads(file.read_bytes())
    new = json.loads(wire.encode(message))
    assert kept(new, old) == old, "a field of the golden file was renamed, removed or changed its meaning: make a new kind"
    assert decode(json.dumps({**old, "field_of_the_future": {"x": [1]}})) == written, "unknown fields are ignored (R41)"


def test_there_is_no_golden_file_without_a_kind() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == {f"{side}_{kind.__struct_config__.tag}" for side, kind in KINDS}
