"""Every promise of docs/security/rows.md is held by a test that names it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OWED: dict[str, str] = {}
"""Rows without a test so far, and why. It gets shorter; longer only with a row that was not on the page before."""


def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "security_rows"), run_name="script")


def test_each_row_is_held_or_owed() -> None:
    held = script()["held"]()
    assert {row for row, tests in held.items() if not tests} <= set(OWED)


def test_the_build_checks_deployment_and_dependencies() -> None:
    """H10: `.ci/run` lints, and audits where LORMAS_AUDIT=1 lets it ask the network; lint asks `check --deploy`; that both find what they look for:
    tests/lormas/test_production.py."""
    built = (ROOT / ".ci" / "run").read_text()
    assert "make --no-print-directory lint" in built and "make --no-print-directory audit" in built
    assert "check --deploy --fail-level WARNING" in (ROOT / "scripts" / "lint").read_text()
    assert "pip-audit" in (ROOT / "scripts" / "audit").read_text()
