"""`make bench`: runs the parts, prints ratios with their aims, writes bench/results/latest.json and the table in docs/performance.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Figure, markdown, text

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("start", "lifecycle", "rpc", "logs", "inside", "backups", "agents", "lists", "samples", "eggs", "placement")


def run_part(name: str, *, quick: bool) -> list[Figure]:
    from importlib import import_module

    found: list[Figure] = import_module(f"bench.{name}").measure(quick=quick)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works, not how fast it is")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    begun = time.monotonic()
    figures: list[Figure] = []
    failed: list[str] = []
    for name in arguments.only:
        print(f"-- {name}", flush=True)
        try:
            found = run_part(name, quick=arguments.quick)
        except Exception as error:  # noqa: BLE001 - one part that fails must not hide the others
            import traceback

            traceback.print_exc()
            failed.append(f"{name}: {error}")
            continue
        figures += found
        print(text(found), flush=True)
    result: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 1),
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine(), "kernel": platform.release(), "python": platform.python_version()},
        "load_average_at_end": [round(value, 2) for value in os.getloadavg()],
        "quick": arguments.quick,
        "figures": [figure.as_json() for figure in figures],
        "failed": failed,
    }
    if not arguments.no_write and set(arguments.only) == set(PARTS):
        folder = ROOT / "bench" / "results"
        folder.mkdir(exist_ok=True)
        (folder / "latest.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        page = ROOT / "docs" / "performance.md"
        if page.exists():
            page.write_text(markdown(page.read_text(encoding="utf-8"), result, figures), encoding="utf-8")
        print(f"written to {folder / 'latest.json'}")
    else:
        print(json.dumps(result["figures"], indent=2))
    for failure in failed:
        print(f"FAILED {failure}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
