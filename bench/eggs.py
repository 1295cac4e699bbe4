"""3,000 egg files of all versions through `manage.py import_eggs`, into an empty database and once more into the full one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT.parent / "shared" / "eggs" / "samples"
"""Real eggs, where they are; else the bundled ones and a large made-up one are varied."""
COUNT = 3_000


def seeds() -> list[dict[str, Any]]:
    """Good eggs to vary."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
    from eggs.formats import EggRefused, parse
    from eggs.formats.export import EXPORTS
    from eggs.formats.reading import read
    from eggs.problems import Warnings

    found: list[dict[str, Any]] = []
    for file in [*sorted((ROOT / "eggs" / "bundled").glob("*.json")), *(sorted(SAMPLES.iterdir()) if SAMPLES.is_dir() else ())]:
        data = file.read_bytes()
        try:
            definition = parse(data, filename=file.name).definition
        except EggRefused:
            continue
        found.append(read(data, filename=file.name, warnings=Warnings()))
        if definition.runs == "startup":
            found += [write(definition) for write in EXPORTS.values()]
    return found


def varied(count: int, folder: Path) -> None:
    """`count` files, each an egg of its own: JSON of all versions, and one of five YAML."""
    from eggs.formats.export import as_yaml

    chance, kinds = random.Random(4), seeds()
    for number in range(count):
        raw = json.loads(json.dumps(kinds[number % len(kinds)]))
        raw |= {"uuid": str(uuid.UUID(int=chance.getrandbits(128))), "name": f"{raw.get('name', 'Egg')} {number}"}
        scripts = raw.get("scripts")
        if isinstance(scripts, dict) and isinstance(scripts.get("installation"), dict):
            script = str(scripts["installation"].get("script") or "")
            scripts["installation"]["script"] = script + "".join(f"\r\n# line {chance.random()}" for _ in range(chance.randrange(60)))
        for extra in range(chance.randrange(6)):
            if isinstance(raw.get("variables"), list):
                raw["variables"].append({"name": f"Extra {extra}", "env_variable": f"EXTRA_{extra}", "rules": "integer"})
        version = raw["meta"]["version"]
        if version.startswith("PLCN") and number % 5 < 2:
            (folder / f"egg-{number:04}.yaml").write_bytes(as_yaml(raw))
        else:
            (folder / f"egg-{number:04}.json").write_text(json.dumps(raw, indent=4), encoding="utf-8")


def measure(*, quick: bool) -> list[Figure]:
    """The command as people give it, in a process of its own, on SQLite in an empty folder (or on DATABASE_URL)."""
    count = 300 if quick else COUNT
    with tempfile.TemporaryDirectory(prefix="lormas-bench-") as name:
        folder = Path(name)
        files = folder / "eggs"
        files.mkdir()
        env = {**os.environ, "LORMAS_DATA": str(folder / "data"), "LOG_LEVEL": "error", "SECRET_KEY": "bench-" * 9}
        varied(count, files)
        size = sum(file.stat().st_size for file in files.iterdir())
        manage = [sys.executable, str(ROOT / "manage.py")]
        subprocess.run([*manage, "migrate", "-v0"], env=env, check=True, timeout=300, capture_output=True)
        taken = list(_timed([*manage, "import_eggs", "--quiet", str(files)], env=env, turns=2))
    limit = 60 * count / COUNT
    note = f"{count:,} files, {size / 1e6:.0f} MB, from {len(seeds())} seeds; {taken[0][1]}"
    return [
        Figure(f"import of {count:,} eggs", taken[0][0], "s", aim=f"< {limit:g} s", met=taken[0][0] < limit, note=note),
        Figure("the same again, nothing new", taken[1][0], "s", "the first time", taken[0][0], note=taken[1][1]),
    ]


def _timed(argv: list[str], *, env: dict[str, str], turns: int) -> Iterator[tuple[float, str]]:
    for _ in range(turns):
        begun = time.monotonic()
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise RuntimeError((done.stdout + done.stderr)[-3000:])
        yield time.monotonic() - begun, done.stdout.strip().splitlines()[-1]
