"""From the samples of all rounds to medians, spreads, ratios and verdicts; as table and JSON."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.cases import Case, Target
from benchmarks.measures import Figures, Sizes


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)}–{number(self.high)})"


@dataclass(frozen=True)
class Row:
    """One figure of one case: a value for each side, the first over the second, the verdict."""

    case: str
    figure: str
    values: dict[str, Spread]
    ratio: float | None
    target: str | None
    met: bool | None


def number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: list[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def _judge(target: Target, value: float, ratio: float | None) -> bool | None:
    measured = ratio if target.ratio else value
    if measured is None:
        return None
    return measured <= target.bound if target.at_most else measured >= target.bound


def _wording(target: Target) -> str:
    sign = "≤" if target.at_most else "≥"
    return f"{sign} {target.bound:g}" + (" x" if target.ratio else "")


def rows(case: Case, samples: dict[str, list[Figures]]) -> list[Row]:
    """``samples``: of each side, the figures of each round."""
    targets = {target.figure: target for target in case.targets}
    made = []
    for figure in samples[case.sides[0].name][0]:
        values = {
            side: spread([figures[figure] for figures in rounds if figure in figures])
            for side, rounds in samples.items()
            if any(figure in figures for figures in rounds)
        }
        medians = [value.median for value in values.values()]
        ratio = medians[0] / medians[1] if len(medians) > 1 and medians[1] else None
        target = targets.get(figure)
        met = _judge(target, medians[0], ratio) if target else None
        wording = _wording(target) if target else None
        made.append(Row(case.name, figure, values, ratio, wording, met))
    return made


def title(case: Case, sizes: Sizes) -> str:
    return f"{case.name}: " + case.title.format(**asdict(sizes), log_mb=sizes.log_bytes >> 20)


def table(made: list[Row]) -> Table:
    sides = list(made[0].values)
    out = Table()
    out.add_column("figure", no_wrap=True)
    for side in sides:
        out.add_column(side, justify="right")
    if len(sides) > 1:
        out.add_column("ratio", justify="right")
    out.add_column("target", justify="right", no_wrap=True)
    out.add_column("", no_wrap=True)
    for row in made:
        cells = [row.figure, *(str(row.values[side]) for side in sides)]
        if len(sides) > 1:
            cells.append("" if row.ratio is None else number(row.ratio))
        verdict = {None: "", True: "[green]met[/]", False: "[red]MISSED[/]"}[row.met]
        out.add_row(*cells, row.target or "", verdict)
    return out


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "load_1m": os.getloadavg()[0],
    }


def as_json(made: list[Row]) -> list[dict[str, Any]]:
    return [asdict(row) for row in made]
