"""The asset build: fresh means nothing to do, and what is missing is said in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lormas import assets


def test_the_stamp_changes_with_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "src" / "app.js").write_text("1")
    monkeypatch.setattr(assets, "FRONTEND", tmp_path)
    before = assets.digest()
    (tmp_path / "src" / "app.js").write_text("2")
    assert assets.digest() != before


def test_without_any_tool_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_deno", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(assets.AssetsError, match="pip install deno"):
        assets._steps()


def test_the_lock_pins_by_hash_and_names_no_address() -> None:
    lock = json.loads((assets.FRONTEND / "deno.lock").read_text())
    assert "http" not in (assets.FRONTEND / "deno.lock").read_text()
    assert all(entry["integrity"].startswith("sha512-") for entry in lock["npm"].values())


def test_rules_of_an_egg_become_controls() -> None:
    from eggs.controls import look_of
    from eggs.rules import split

    def read_rules(text: str | list[str], *, name: str = "") -> Any:
        return look_of(split(text) if isinstance(text, str) else text, name=name)

    assert read_rules("required|integer|between:1,20").kind == "number"
    assert read_rules(["required", "boolean"]).kind == "switch"
    assert read_rules("required|string|in:easy,hard").options == ("easy", "hard")
    assert read_rules("nullable|string|max:20").max_length == "20"
    assert read_rules("string", name="RCON_PASSWORD").kind == "password"
