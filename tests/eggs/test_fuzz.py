"""C09, C10, section 5: whatever is read as an egg, no input up to the size limit crashes a parser, hangs it or makes it hungry.

The fuzzer (fuzzing.py) runs in a process of its own that may have 256 MB more than it begins with, and gives each input 2 s of processor time. A find
belongs into corpus/, which every run begins with. For a long run: `python -m tests.eggs.fuzzing bytes 1 1000000`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SEED = 4


def fuzz(kind: str, count: int, folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.eggs.fuzzing", kind, str(SEED), str(count)]
    env: dict[str, Any] = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.parametrize(
    ("kind", "count"), [("bytes", 2500), ("shapes", 2500), ("rules", 10_000), ("values", 2500), ("pictures", 3000), ("configs", 1500), ("large", 1)]
)
def test_nothing_crashes_hangs_or_eats(kind: str, count: int, tmp_path: Path) -> None:
    """C09, C10."""
    done = fuzz(kind, count, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert said["tried"] >= (count if kind != "large" else 90)


@pytest.mark.parametrize(("count", "name"), [(0, "ZeroDivisionError"), (-1, "MemoryError"), (-2, "TooSlow")])
def test_the_fuzzer_notices(count: int, name: str, tmp_path: Path) -> None:
    done = fuzz("faults", count, tmp_path)
    assert done.returncode == 1
    assert name in done.stderr
    assert (tmp_path / "crash-faults").read_bytes()
