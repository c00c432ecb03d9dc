"""Lists: a table on a terminal, lines with tabs for other programs, JSON where it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import click
import msgspec

from pushd.cli.messages import visible
from pushd.client import Pages

T = TypeVar("T")

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
LIMIT_OPTION = click.option("--limit", type=click.IntRange(1), help="At most so many. [all]")
Row = Sequence[str]


def print_json(value: Any) -> None:
    """What the server says, as one line."""
    click.echo(msgspec.json.encode(value))


def print_items(
    items: Sequence[Any],
    as_json: bool,
    columns: Row,
    rows: Iterable[Row],
    nothing: str,
    numbers: Collection[str] = (),
) -> None:
    """``items`` as they are for programs, ``rows`` for people: see ``print_rows``."""
    if as_json:
        print_json({"items": items})
    else:
        print_rows(columns, rows, nothing, numbers=numbers)


def print_rows(
    columns: Row, rows: Iterable[Row], nothing: str, *, numbers: Collection[str] = ()
) -> None:
    """``nothing``: what a person is told when there are no rows. ``numbers``: such columns."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    # imported here: only a terminal needs it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for at, title in enumerate(columns):
        # The first column is what the next command wants to be given: in one piece.
        side: Literal["left", "right"] = "right" if title in numbers else "left"
        table.add_column(title, justify=side, overflow="fold", no_wrap=at == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table if table.rows else nothing)


def print_members(members: Mapping[str, object]) -> None:
    """One thing, a member a line."""
    for name, value in members.items():
        click.echo(f"{name}\t{value}")


async def first(pages: Pages[T], limit: int | None) -> list[T]:
    """All of them, or so many."""
    found: list[T] = []
    async for item in pages:
        found.append(item)
        if len(found) == limit:
            break
    return found


def moment(at: int | None) -> str:
    """``2026-11-21 19:25:37+00:00`` from ms since 1970, of today on a terminal ``19:25:37``;
    ``-`` for never."""
    if at is None:
        return "-"
    when = datetime.fromtimestamp(at / 1000).astimezone()
    if sys.stdout.isatty() and when.date() == datetime.now().astimezone().date():
        return when.strftime("%H:%M:%S")
    return when.isoformat(" ", "seconds")


def yes(value: bool) -> str:
    return "yes" if value else "no"


def name(text: str | None) -> str:
    """A name of the server, fit for a terminal; ``-`` for none."""
    return "-" if text is None else visible(text)
