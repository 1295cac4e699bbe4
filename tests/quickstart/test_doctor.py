"""The doctor names what is wrong, and the command that mends it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lormas.env import Env
from lormas.quickstart import doctor


def env(tmp_path: Path, **values: str) -> Env:
    return Env({"LORMAS_DATA": str(tmp_path / "data"), **values}, folder=tmp_path)


def test_a_healthy_machine_has_no_problem_in_any_cheap_check(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    good = env(tmp_path, PORT=str(port))
    for check in (doctor.check_python, doctor.check_settings, doctor.check_port, doctor.check_data, doctor.check_clock):
        for finding in check(good):
            assert finding.level != "problem", finding


def test_each_trouble_comes_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        sick = env(tmp_path, PORT=str(port), DOCKER_HOST=f"unix://{tmp_path}/none.sock", LOG_LEVEL="loud")
        found = {
            finding.check: finding
            for check in (doctor.check_settings, doctor.check_port, doctor.check_data, doctor.check_engine)
            for finding in check(sick)
        }
    assert found["settings"].level == "problem"
    assert "LOG_LEVEL" in found["settings"].text
    assert found["port"].remedy == f"PORT={port + 1} make run"
    assert found["data"].remedy.startswith("chmod 700 ")
    assert found["engine"].level == "warning"
    assert found["engine"].remedy


def test_a_wrong_clock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.engine, "clock_skew_seconds", lambda host: -3600.0)
    (finding,) = doctor.check_clock(env(tmp_path))
    assert finding.level == "problem"
    assert "-3600 s" in finding.text


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_DISK_BYTES", 10**18)
    assert any(finding.check == "disk" and finding.level == "warning" for finding in doctor.check_data(env(tmp_path)))
