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


def test_the_stamp_changes_with_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Tabler's sheet only what pages name goes in: a page that names more needs a new build."""
    monkeypatch.setattr(assets, "PAGES", ((tmp_path, "*.html"),))
    before = assets.digest()
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "one.html").write_text('<div class="ribbon">')
    named = assets.digest()
    (tmp_path / "rooms" / "one.html").write_text('<div class="accordion">')
    assert len({before, named, assets.digest()}) == 3


def test_the_build_looks_where_the_stamp_looks() -> None:
    script = json.loads((assets.FRONTEND / "package.json").read_text())["scripts"]["build"]
    for folder, names in assets.PAGES:
        assert f'"../{folder.relative_to(assets.ROOT).as_posix()}/' in script and names in script


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
