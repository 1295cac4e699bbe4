"""A broken variable, a taken port, a second start: one sentence that says what to do, a non-zero exit, no traceback."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lormas(*arguments: str, data: Path, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "lormas.cli", *arguments],
        cwd=ROOT, env={**inherited, "LORMAS_DATA": str(data), **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    said = done.stderr.strip()
    assert said.startswith("lormas: ")
    assert "\n" not in said
    return said


@pytest.fixture
def taken_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def test_a_taken_port_is_named_with_another_to_try(tmp_path: Path, taken_port: int) -> None:
    said = one_sentence(lormas("run", data=tmp_path / "data", PORT=str(taken_port)))
    assert f"port {taken_port} is taken" in said
    assert f"PORT={taken_port + 1} make run" in said


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "eighty", "PORT must be a whole number from 1 to 65535, not 'eighty'"),
        ("PORT", "70000", "PORT must be a whole number"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be one of trace, debug, info, warn, error"),
        ("DATABASE_URL", "mysql://u:hunter2@h/db", "DATABASE_URL must be an address that begins with"),
        ("SUPERUSER_EMAIL", "root", "SUPERUSER_EMAIL must be an e-mail address"),
        ("SECRET_KEY_FILE", "/nowhere/key", "SECRET_KEY_FILE names /nowhere/key, which can't be read"),
        ("HOST", "not a host", "HOST=not a host is no address"),
        ("LORMAS_DATA", "/proc/lormas", "the data folder /proc/lormas can't be written"),
    ],
)
def test_a_broken_variable_is_named_and_nothing_starts(tmp_path: Path, name: str, value: str, words: str) -> None:
    said = one_sentence(
        lormas("run", data=tmp_path / "data", **{"PORT": "18999", name: value}) if name != "LORMAS_DATA" else lormas("run", data=Path(value))
    )
    assert words in said
    assert "hunter2" not in said  # I07: secrets never reach a terminal


def test_an_alias_is_blamed_under_the_name_it_was_given(tmp_path: Path) -> None:
    said = one_sentence(lormas("run", data=tmp_path / "data", ADMIN_DEFAULT_USERNAME="admin"))
    assert "ADMIN_DEFAULT_USERNAME must be an e-mail address" in said


def test_docker_demanded_but_absent_says_why(tmp_path: Path) -> None:
    said = one_sentence(
        lormas("run", data=tmp_path / "data", PORT="18998", LORMAS_AGENT_RUNTIME="docker", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    )
    assert "LORMAS_AGENT_RUNTIME=docker" in said


def test_a_second_start_of_one_data_folder_says_where_the_first_answers(tmp_path: Path) -> None:
    run = tmp_path / "data" / "run"
    run.mkdir(parents=True)
    (run / "instance.json").write_text('{"pid": 4711, "url": "http://127.0.0.1:8000"}')
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = one_sentence(lormas("run", data=tmp_path / "data"))
    assert "already runs" in said
    assert "http://127.0.0.1:8000 (process 4711)" in said
    assert "make stop" in said


def test_stop_with_nothing_running_is_fine_and_a_stale_file_is_not_believed(tmp_path: Path) -> None:
    run = tmp_path / "data" / "run"
    run.mkdir(parents=True)
    (run / "lock").touch()
    (run / "instance.json").write_text(f'{{"pid": {os.getpid()}, "url": "x"}}')  # a crash left it; the pid is somebody else's now
    done = lormas("stop", data=tmp_path / "data")
    assert done.returncode == 0
    assert "Nothing runs" in done.stdout


def test_an_unknown_command_shows_what_there_is(tmp_path: Path) -> None:
    done = lormas("explode", data=tmp_path / "data")
    assert done.returncode == 2
    assert "lormas doctor" in done.stderr


def test_a_machine_without_a_good_python_gets_one_sentence() -> None:
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "python")], env={"PATH": "/nonexistent"}, capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "3.11 or newer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_python_without_venv_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lormas.quickstart import bootstrap
    from lormas.quickstart.say import Trouble

    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Trouble, match=r"apt-get install python3\.\d+-venv"):
        bootstrap._make_venv(tmp_path / "venv", None)


def test_the_bootstrap_needs_nothing_but_the_standard_library() -> None:
    code = "import sys; import lormas.quickstart.bootstrap; bad = {'django', 'redis', 'supervisor', 'docker'} & set(sys.modules); sys.exit(bool(bad))"
    assert (
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"], timeout=30, check=False
        ).returncode
        == 0
    )


def test_an_environment_that_was_left_half_made_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lormas.quickstart import bootstrap

    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    half = tmp_path / ".venv"
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").touch()
    (half / "rubbish").touch()
    assert not bootstrap._whole(half)
    monkeypatch.setattr(bootstrap, "_fresh_venv", lambda folder, uv: folder.mkdir())
    bootstrap._make_venv(half, None)
    assert not (half / "rubbish").exists()
    (half / "bin").mkdir()
    (half / "bin" / "python").touch()
    assert bootstrap._whole(half)


def test_installed_is_of_the_environments_own_python_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lormas.quickstart import bootstrap

    folder, lock, other = tmp_path / "venv", tmp_path / "panel.lock", tmp_path / "python9"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text("home = /nowhere\nversion = 3.11.7\n", encoding="ascii")
    lock.write_text("one==1", encoding="ascii")
    assert not bootstrap.installed(folder, lock)
    (folder / "lormas-panel.sha256").write_text(bootstrap.lock_digest(folder, lock), encoding="ascii")
    monkeypatch.setattr(sys, "version", "9.9.9 (another one was first on PATH)")
    assert bootstrap.installed(folder, lock)
    lock.write_text("one==2", encoding="ascii")
    assert not bootstrap.installed(folder, lock)
    lock.write_text("one==1", encoding="ascii")
    assert bootstrap.installed(folder, lock)
    other.touch()
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to(other)  # the system's Python was upgraded
    assert not bootstrap.installed(folder, lock)
