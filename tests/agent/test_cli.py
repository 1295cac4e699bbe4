"""The command line, what it stores and what it says when it can't."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.cli import main

ROOT = Path(__file__).parents[2]


def agent(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LORMAS_")}
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments], cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, timeout=30, check=False
    )


def test_imports_in_half_a_second_without_django_and_docker() -> None:
    """Seconds of processor: what others do on the machine meanwhile is not the agent's."""
    program = (
        "import sys, time; begun = time.process_time(); import agent.cli, agent.program; took = time.process_time() - begun;"
        "print(took); print([name for name in ('django', 'docker', 'requests', 'channels') if name in sys.modules])"
    )
    best = 9.0
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
        took, heavy = done.stdout.split("\n")[:2]
        assert heavy == "[]"
        best = min(best, float(took))
    assert best < 0.5


def test_join_stores_privately_and_keeps_the_identity(tmp_path: Path, capsys: Any) -> None:
    """R44."""
    data = tmp_path / "agent"
    assert main(["join", "--panel", "http://127.0.0.1:1/", "--token", "first", "--data", str(data), "--no-run"]) == 0
    first = json.loads((data / "agent.json").read_text())
    assert (first["panel_url"], first["token"]) == ("http://127.0.0.1:1", "first")
    assert stat.S_IMODE((data / "agent.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert main(["join", "--panel", "http://127.0.0.1:2", "--token", "second", "--data", str(data), "--runtime", "docker", "--no-run"]) == 0
    second = json.loads((data / "agent.json").read_text())
    assert (second["token"], second["runtime"], second["instance_id"]) == ("second", "docker", first["instance_id"])
    assert "second" not in capsys.readouterr().out
    assert [file.name for file in data.iterdir()] == ["agent.json"], "no draft is left"


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    loaded = config.load(tmp_path, {"LORMAS_PANEL_URL": "https://p.example/base/", "LORMAS_NODE_TOKEN_FILE": str(secret), "DOCKER_HOST": "unix:///x"})
    assert (loaded.token, loaded.docker_host, loaded.socket_url) == ("from-file", "unix:///x", "wss://p.example/base/api/ws/nodes")


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["run"], {}, "join command"),
        (["run"], {"LORMAS_PANEL_URL": "http://127.0.0.1:1"}, "LORMAS_NODE_TOKEN"),
        (["run"], {"LORMAS_PANEL_URL": "nowhere", "LORMAS_NODE_TOKEN": "x"}, "must look like"),
        (["run"], {"LORMAS_PANEL_URL": "http://u:p@host", "LORMAS_NODE_TOKEN": "x"}, "must not contain"),
        (["run"], {"LORMAS_PANEL_URL": "http://127.0.0.1:1", "LORMAS_NODE_TOKEN_FILE": "/does/not/exist"}, "can't be read"),
        (["run", "--runtime", "process"], {"LORMAS_PANEL_URL": "http://127.0.0.1:1", "LORMAS_NODE_TOKEN": "x"}, "--allow-process"),
        (["run", "--runtime", "fake"], {"LORMAS_PANEL_URL": "http://127.0.0.1:1", "LORMAS_NODE_TOKEN": "x"}, "for tests only"),
        (["join", "--panel", "http://127.0.0.1:1"], {}, "No token"),
    ],
)
def test_what_is_missing_is_told_in_a_sentence(tmp_path: Path, arguments: list[str], environment: dict[str, str], says: str) -> None:
    done = agent(*arguments, "--data", str(tmp_path / "a"), **environment)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_check_tells_each_problem_with_the_command_that_fixes_it(tmp_path: Path) -> None:
    data = tmp_path / "a"
    none = agent("check", "--data", str(data))
    assert (none.returncode, "join command" in none.stdout) == (1, True)
    main(["join", "--panel", "http://127.0.0.1:1", "--token", "x", "--data", str(data), "--runtime", "docker", "--no-run"])
    (data / "agent.json").chmod(0o644)
    bad = agent("check", "--data", str(data), DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert bad.returncode == 1
    assert f"chmod 600 {data / 'agent.json'}" in bad.stdout
    assert "can't be reached" in bad.stdout
    assert bad.stdout.count("fix:") >= 3
    assert "[ok] disk" in bad.stdout


def test_version() -> None:
    assert agent("version").stdout.strip() == "0.1.0"
