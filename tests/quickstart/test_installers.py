"""uv is fetched where it is not installed, is told what pip is told, and where that can't be, pip installs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from lormas.quickstart import bootstrap, installers

TELLS = """#!/bin/sh
printf '%s\\n' "$@" >"$TOLD"
env >>"$TOLD"
"""


def wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """A wheel made by hand; returns its line of a lock."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(file, "w") as packed:
        for path, text in {**files, f"{about}/RECORD": "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])}.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            packed.writestr(entry, text)
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


@pytest.fixture
def pip() -> list[str]:
    found = installers.bundled_pip()
    assert found, "the Python of these tests was built with ensurepip"
    return found


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All the packages there are."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


def test_it_is_fetched_only_if_it_is_what_the_lock_says(pip: list[str], shelf: Path, tmp_path: Path) -> None:
    lock = tmp_path / "setup.lock"
    lock.write_text(wheel(shelf, "uv", {"uv-1.0.data/scripts/uv": TELLS}))
    program = installers.fetch_uv(pip, lock, tmp_path / "good")
    assert program == str(tmp_path / "good" / "bin" / "uv")
    assert os.access(program, os.X_OK)
    lock.write_text(f"uv==1.0 --hash=sha256:{'0' * 64}\n")
    assert installers.fetch_uv(pip, lock, tmp_path / "bad") is None
    assert installers.fetch_uv([str(tmp_path / "no-such-pip")], lock, tmp_path / "bad") is None


def test_uv_takes_packages_from_where_pip_does(pip: list[str], shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example.org/simple\nextra-index-url =\n  https://one.example.org\n  https://two.example.org\n"
        "timeout = 20\nquiet = 1\nno-cache-dir = true\n[install]\ntrusted-host = mirror.example.org\ntimeout = 30\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("UV_FIND_LINKS", "/what/the/user/told/uv")
    told = installers.as_pip_is_told(pip)
    assert {name: value for name, value in told.items() if name.startswith("UV_")} == {
        "UV_DEFAULT_INDEX": "https://mirror.example.org/simple",
        "UV_INDEX": "https://one.example.org https://two.example.org",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "mirror.example.org",
        "UV_HTTP_TIMEOUT": "30",
        "UV_NO_CACHE": "1",
        "UV_FIND_LINKS": "/what/the/user/told/uv",
    }
    assert installers.as_pip_is_told([str(tmp_path / "no-such-pip")]) == dict(os.environ)


@pytest.mark.parametrize("works", [True, False])
def test_what_the_fetched_uv_does_not_do_pip_does(works: bool, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, told = tmp_path / "root", tmp_path / "told"
    (root / "requirements").mkdir(parents=True)
    script = TELLS + ("exit 0\n" if works else "echo 'no route' >&2; exit 2\n")
    (root / "requirements" / "setup.lock").write_text(wheel(shelf, "uv", {"uv-1.0.data/scripts/uv": script}))
    lock = root / "requirements" / "panel.lock"
    lock.write_text(wheel(shelf, "greeting", {"greeting.py": "WORD = 'hello'\n"}) + wheel(shelf, "parting", {"parting.py": "WORD = 'bye'\n"}))
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setenv("TOLD", str(told))
    folder = root / "venv"
    bootstrap._make_venv(folder, None)
    assert bootstrap._install(folder, lock, None) == ("uv" if works else "pip")
    asked = told.read_text().splitlines()
    assert asked[:2] == ["pip", "install"]
    assert {"--require-hashes", str(lock), str(bootstrap.venv_python(folder)), f"UV_FIND_LINKS={shelf}", "UV_NO_INDEX=1"} <= set(asked)
    look = "import greeting, parting; print(greeting.WORD, parting.WORD)"
    seen = subprocess.run([bootstrap.venv_python(folder), "-c", look], capture_output=True, text=True, timeout=60, check=False)
    assert (seen.stdout == "hello bye\n") is not works, "the uv of this test installs nothing, so what is there pip has brought"
    assert not list(folder.glob("fetched-*"))
