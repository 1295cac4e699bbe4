"""What supervisor is told."""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lormas import assets
from lormas.env import Env
from lormas.quickstart import brokers, config, launch
from lormas.quickstart.places import LONGEST_SOCKET_PATH, Places, schema_fingerprint, socket_path, write_private


def rendered(programs: list[config.Program], prefix: list[str] | None = None) -> configparser.RawConfigParser:
    text = config.render(
        programs, run=Path("/d/run"), logs=Path("/d/100%/logs"), directory=Path("/src"), socket=Path("/d/run/s"), open_files=1024, prefix=prefix or []
    )
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser


def test_a_command_survives_quoting_and_percent_signs() -> None:
    words = ["/opt/my panel/python", "-m", "x", "100%", "it's"]
    parser = rendered([config.Program("web", words, 500)])
    assert shlex.split(parser["program:web"]["command"].replace("%%", "%")) == words
    assert parser["program:web"]["stdout_logfile"] == "/d/100%%/logs/web.log"


def test_every_program_is_on_a_leash_and_ends_in_time() -> None:
    env = Env({}, folder=Path("/nonexistent"))
    broker = brokers.Broker("unix:///x", "redis-server", ["redis-server"])
    programs = launch.programs(broker, "process", Places(Path("/d")), launch.local_url(env))
    parser = rendered(programs, ["setpriv", "--pdeathsig", "TERM", "--"])
    sections = [name for name in parser.sections() if name.startswith("program:")]
    assert {name.partition(":")[2] for name in sections} == {"prepare", "web", "worker", "redis", "agent"}
    for name in sections:
        assert parser[name]["command"].startswith("setpriv --pdeathsig TERM -- ")
    # side by side the first three, then Redis; supervisord looks once a second
    assert config.STOP_SECONDS + int(parser["program:redis"]["stopwaitsecs"]) + 2 <= 10
    assert parser["group:lormas"]["programs"] == "web,worker,agent"
    assert "--allow-process" in parser["program:agent"]["command"]


def test_the_agent_gets_none_of_the_panels_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """I07: what the agent has in its environment, a process it starts could read."""
    for name in ("SECRET_KEY", "DATABASE_URL", "SUPERUSER_PASSWORD", "REDIS_URL", "FIELD_KEYS"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    found = launch.agent_environment(Places(Path("/d")), "http://127.0.0.1:8000")
    assert "canary" not in found.values()
    assert found["DOCKER_HOST"] == "unix:///run/docker.sock"


def test_web_starts_at_once_only_where_neither_schema_nor_assets_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an update that brought new pages web would have looked through the static files before they were built, and served none of them."""
    dist, places, env = tmp_path / "dist", Places(tmp_path), Env({}, folder=tmp_path)
    dist.mkdir()
    places.run.mkdir(parents=True, exist_ok=True)
    (tmp_path / "lormas.sqlite3").touch()
    for name in assets.NEEDED:
        (dist / name).touch()
    monkeypatch.setattr(assets, "DIST", dist)
    monkeypatch.setattr(assets, "STAMP", dist / "stamp.txt")
    assets.STAMP.write_text(assets.digest())
    assert not launch.nothing_to_prepare(env, places), "no hint is kept yet"
    write_private(places.schema_hint, schema_fingerprint(env, places))
    assert launch.nothing_to_prepare(env, places)
    assets.STAMP.write_text("of other pages")
    assert not launch.nothing_to_prepare(env, places)


def test_no_agent_is_configured_where_none_is_wanted() -> None:
    env = Env({"LORMAS_AGENT": "0"}, folder=Path("/nonexistent"))
    assert launch.choose_runtime(env)[0] == "none"
    names = {program.name for program in launch.programs(brokers.Broker("redis://h", "REDIS_URL"), "none", Places(Path("/d")), "http://h")}
    assert names == {"prepare", "web", "worker"}


def test_without_an_engine_the_process_runtime_is_chosen_with_the_reason(tmp_path: Path) -> None:
    env = Env({"DOCKER_HOST": f"unix://{tmp_path}/none"}, folder=tmp_path)
    runtime, why = launch.choose_runtime(env)
    assert runtime == "process"
    assert "no engine answers" in why


def test_a_given_redis_is_used_and_none_started(tmp_path: Path) -> None:
    found = brokers.choose("redis://example:6379/1", Places(tmp_path))
    assert found.url == "redis://example:6379/1"
    assert found.command is None


def test_without_any_server_the_last_resort_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "_outside_venv", lambda name: None)
    monkeypatch.setattr(brokers, "_embedded_binary", lambda: None)
    found = brokers.choose(None, Places(tmp_path))
    assert not found.durable
    assert "not durable" in found.label
    assert found.command is not None


def test_a_server_of_the_environment_is_not_taken_for_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "venv" / "bin"
    fake.mkdir(parents=True)
    (fake / "redis-server").write_text("#!/bin/sh\n")
    (fake / "redis-server").chmod(0o755)
    monkeypatch.setenv("PATH", str(fake))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert brokers._outside_venv("redis-server") is None


def test_a_long_data_path_gets_a_short_socket_for_this_user_only(tmp_path: Path) -> None:
    short = tmp_path / "redis.sock"
    if len(os.fsencode(short)) <= LONGEST_SOCKET_PATH:
        assert socket_path(short) == short
    moved = socket_path(tmp_path / ("d" * 120) / "redis.sock")
    assert len(os.fsencode(moved)) <= LONGEST_SOCKET_PATH
    assert moved.parent.stat().st_mode & 0o077 == 0
    moved.parent.rmdir()


def test_private_files_are_for_their_owner_only_and_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no parent-death signal here")
@pytest.mark.parametrize("setpriv", [True, False], ids=["setpriv", "without setpriv"])
def test_who_lost_its_parent_before_the_leash_was_on_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setpriv: bool) -> None:
    """The kernel sends its signal at the death of a parent, never after it: a program begun in that moment would outlive the panel for ever."""
    if not setpriv:
        monkeypatch.setattr("shutil.which", lambda _: None)
    command = ["/bin/sh", "-c", 'echo "$0 $*"; exit 7', "it's", "100 %", "$HOME"]
    begun = subprocess.run([*config.leash(os.getpid()), *command], capture_output=True, text=True, timeout=60, check=False)
    assert (begun.returncode, begun.stdout) == (7, "it's 100 % $HOME\n")
    gone = subprocess.Popen(["/bin/true"])
    gone.wait(60)
    late = subprocess.run([*config.leash(gone.pid), *command], capture_output=True, text=True, timeout=60, check=False)
    assert (late.returncode, late.stdout) == (1, "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no parent-death signal here")
@pytest.mark.parametrize("deaf", [False, True], ids=["one that follows", "one that hangs in its farewell"])
def test_a_leashed_program_dies_with_its_parent_even_by_sigkill(tmp_path: Path, eventually, deaf: bool) -> None:
    program = ["sleep", "600"]
    if deaf:
        hangs = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        watched = "from lormas.quickstart.leash import never_outlive_supervisor; never_outlive_supervisor(grace=0.1, look_every=0.05)"
        program = [sys.executable, "-c", f"{hangs}; {watched}; open({str(tmp_path / 'deaf')!r}, 'w').close(); time.sleep(600)"]
    code = (
        "import os, subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-m', 'lormas.quickstart.leash', str(os.getpid()), *{program!r}]);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid));"
        "time.sleep(600)"
    )
    ours = {**os.environ, "LORMAS_RUN_SOCKET": str(tmp_path / "socket")}
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=ours)
    pid_file = tmp_path / "pid"
    eventually(lambda: pid_file.exists() and pid_file.read_text(), seconds=60, what="the leashed program starts")
    pid = int(pid_file.read_text())

    def command() -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    eventually(lambda: (tmp_path / "deaf").exists() if deaf else command().startswith(b"sleep"), seconds=60, what="it is exec'ed")
    parent.kill()
    parent.wait(10)
    eventually(lambda: not command(), seconds=60, what="the leashed program ends with its parent")
