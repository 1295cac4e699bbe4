"""Real eggs of others give exactly what is written down for each: content, versions, reasons and warnings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.configfiles import rewrite
from eggs.configfiles import edits_of
from eggs.formats import EggRefused, parse
from eggs.rendering import render, stop_spec

FOLDER = Path(__file__).parents[3] / "shared" / "eggs"
ROWS = [json.loads(line) for line in (FOLDER / "expected.jsonl").read_text().splitlines()] if FOLDER.is_dir() else [{"path": "none"}]

pytestmark = pytest.mark.samples


@pytest.mark.parametrize("row", ROWS, ids=[row["path"].rpartition("/")[2] for row in ROWS])
def test_a_real_egg_gives_what_it_must(row: dict[str, Any]) -> None:
    data = (FOLDER / row["path"]).read_bytes()
    if not row["import"]:
        with pytest.raises(EggRefused) as refused:
            parse(data, filename=row["path"])
        assert refused.value.code == row["reason"]
        return
    parsed = parse(data, filename=row["path"])
    egg = parsed.definition
    found = {
        "version": parsed.version,
        "name": egg.name,
        "author": egg.author,
        "uuid": egg.uuid or None,
        "docker_images": [image for _, image in egg.docker_images],
        "docker_labels": [label for label, _ in egg.docker_images],
        "n_startup_commands": len(egg.startup_commands),
        "startup_default": egg.default_startup,
        "env_variables": [variable.env_variable for variable in egg.variables],
        "n_env_unique": len(egg.effective_variables()),
        "config_files": [{"file": file.path, "parser": file.parser, "n_find": len(file.find)} for file in egg.config_files],
        "startup_done": egg.startup_done,
        "stop": egg.stop or None,
        "features": egg.features,
        "tags": egg.tags,
        "file_denylist": egg.file_denylist,
        "has_install_script": bool(egg.install.script),
        "install_container": egg.install.container,
        "install_entrypoint": egg.install.entrypoint,
    }
    assert found == {key: row[key] for key in found}
    assert {warning.code for warning in parsed.warnings} == set(row["warnings"])
    stop = stop_spec(egg)
    assert ("command" if stop.command else "signal" if egg.stop else "none") == row["stop_kind"]
    assert not stop.command or row["stop_signal"] is None
    if row["stop_kind"] == "signal":
        assert stop.signal == row["stop_signal"]
    assert render(egg, values={}, primary_port=25565, memory_bytes=2**30).image == row["docker_images"][0].strip().removeprefix("~")
    for edit in edits_of(egg.config_files, data_target="/home/container"):
        made = rewrite(edit.parser, b"", list(edit.finds))
        assert rewrite(edit.parser, made, list(edit.finds)) == made
