"""One figure: a value, what it is compared with, and the aim."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BEGIN, END = "<!-- last run: begin (written by make bench) -->", "<!-- last run: end -->"


@dataclass(frozen=True)
class Figure:
    """`value` in `unit`; `against` names the baseline that was measured in the same run and `baseline` its value; `ratio` is value / baseline.

    `aim` is for people; `met` None = there is no aim.
    """

    name: str
    value: float
    unit: str
    against: str = ""
    baseline: float | None = None
    aim: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.baseline if self.baseline else None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": round(self.ratio, 3) if self.ratio is not None else None}


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    baseline = f"{number(figure.baseline)} {figure.unit} ({figure.against})" if figure.baseline is not None else figure.against
    ratio = f"{figure.ratio:.2f}x" if figure.ratio is not None else ""
    aim = figure.aim + ("" if figure.met is None else " (met)" if figure.met else " (MISSED)")
    return figure.name, f"{number(figure.value)} {figure.unit}", baseline, ratio, aim


def text(figures: Sequence[Figure]) -> str:
    rows = [_cells(figure) for figure in figures]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(f"   {line}{'   # ' + figure.note if figure.note else ''}" for line, figure in zip(lines, figures, strict=True))


def markdown(page: str, result: dict[str, Any], figures: Sequence[Figure]) -> str:
    """The page with the table between its marks replaced."""
    machine = result["machine"]
    rows = [
        f"{result['when']}, {machine['cores']} cores, {machine['architecture']}, Python {machine['python']}, {result['seconds']} s in all.",
        "",
        "| what | Lormas | against | ratio | aim |",
        "|---|---|---|---|---|",
        *("| " + " | ".join(_cells(figure)) + " |" for figure in figures),
    ]
    notes = [f"- {figure.name}: {figure.note}" for figure in figures if figure.note]
    failures = [f"- FAILED {failure}" for failure in result["failed"]]
    block = "\n".join([BEGIN, *rows, *([""] if notes or failures else []), *notes, *failures, END])
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + block + tail
