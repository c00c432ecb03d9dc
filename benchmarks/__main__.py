"""``python -m benchmarks [names…]``: pushd beside the naive forms, on this machine."""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click
from rich import box
from rich.console import Console

from benchmarks import generator, results, servers
from benchmarks.cases import CASES, Case
from benchmarks.generator import BenchmarkError
from benchmarks.measures import FULL, QUICK, Figures, Sizes

PLAIN_WIDTH = 140
DEFAULT_ROUNDS = 3


def _stop(number: int, frame: object) -> NoReturn:
    """A plain kill runs every ``finally`` too, so that no server is left behind."""
    sys.exit(128 + number)


def _raise_file_limit() -> None:
    """The servers inherit it; each connection is a file to them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _measure(
    case: Case, sizes: Sizes, rounds: int, root: Path, console: Console
) -> dict[str, list[Figures]]:
    """A B A B …: what disturbs the machine for a while disturbs both sides."""
    samples: dict[str, list[Figures]] = {side.name: [] for side in case.sides}
    for turn in range(1, rounds + 1):
        for side in case.sides:
            with servers.scratch_directory(root) as scratch:
                figures = side.measure(sizes, scratch)
            samples[side.name].append(figures)
            name, value = next(iter(figures.items()))
            shown = f"{results.number(value)} {name}"
            console.print(f"{case.name} {turn}/{rounds}  {side.name}: {shown}", style="dim")
    return samples


def _run_all(
    cases: list[Case], sizes: Sizes, rounds: int, root: Path, console: Console
) -> tuple[list[results.Row], dict[str, str]]:
    made: list[results.Row] = []
    failed: dict[str, str] = {}
    for case in cases:
        try:
            rows = results.rows(case, _measure(case, sizes, rounds, root, console))
        except BenchmarkError as error:
            failed[case.name] = str(error)
            console.print(f"{case.name} failed: {error}", style="red", markup=False)
            continue
        made += rows
        spread = f"; median of {rounds} (lowest–highest)" if rounds > 1 else ""
        console.print(f"\n{results.title(case, sizes)}{spread}", style="bold")
        shown = results.table(rows)
        shown.box = box.SIMPLE if console.is_terminal else None
        console.print(shown)
        console.print()
    return made, failed


def _write(path: Path | None, report: dict[str, Any]) -> Path:
    if path is None:
        path = generator.HERE / "results" / time.strftime("%Y%m%d-%H%M%S.json")
        path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return path


def _choose(names: tuple[str, ...]) -> list[Case]:
    """By name, or the first word of several names."""
    known = [case.name for case in CASES]
    words = {*known, *(name.partition(" ")[0] for name in known)}
    if unknown := set(names) - words:
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    chosen = [case for case in CASES if {case.name, case.name.partition(" ")[0]} & set(names)]
    return chosen or CASES


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="Smaller and shorter: to see that all of it works.")
@click.option("--rounds", default=DEFAULT_ROUNDS, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here."
)
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where data directories are made; on a real disk, a commit is worth nothing on a tmpfs.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 also when a target is missed.")
def main(
    names: tuple[str, ...],
    quick: bool,
    rounds: int,
    json_file: Path | None,
    data_root: Path | None,
    strict: bool,
) -> None:
    cases, sizes = _choose(names), QUICK if quick else FULL
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    signal.signal(signal.SIGTERM, _stop)
    _raise_file_limit()
    facts = results.machine()
    console.print("  ".join(f"{name}: {value}" for name, value in facts.items()))
    try:
        generator.build()
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="pushd-bench-", dir=data_root) as root:
        made, failed = _run_all(cases, sizes, rounds, Path(root), console)
    report = {
        "machine": facts,
        "quick": quick,
        "rounds": rounds,
        "sizes": asdict(sizes),
        "rows": results.as_json(made),
        "failed": failed,
    }
    console.print(f"written to {_write(json_file, report)}", soft_wrap=True)
    missed = [row for row in made if row.met is False]
    sys.exit(1 if failed or (strict and missed) else 0)


if __name__ == "__main__":
    main()
