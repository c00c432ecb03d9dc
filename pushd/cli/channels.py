"""``pushctl channels``: what the server has."""

from __future__ import annotations

import sys

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.messages import visible
from pushd.client import ChannelItem, Client


@click.command("channels")
@click.option("--prefix", default="", help="Only those whose names begin so.")
@click.option("--json", "as_json", is_flag=True, help='Print {"items":[...]} as JSON.')
@connection_options("key")
def command(connection: Connection, prefix: str, as_json: bool) -> None:
    """List the channels: name, epoch, oldest retained and newest seq. Needs a key.

    \b
    Examples:
      pushctl channels
      pushctl channels --prefix user: --json
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            items = await client.channels(prefix)
        if as_json:
            click.echo(msgspec.json.encode({"items": items}))
        elif sys.stdout.isatty():
            _print_table(items)
        else:
            for item in items:
                click.echo("\t".join(_cells(item)))

    run(main)


def _cells(item: ChannelItem) -> tuple[str, str, str, str]:
    return visible(item.channel), item.epoch, str(item.first), str(item.head)


def _print_table(items: list[ChannelItem]) -> None:
    # imported here: only a terminal needs it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("channel", "epoch", box=None, header_style="bold")
    table.add_column("first", justify="right")
    table.add_column("head", justify="right")
    for item in items:
        table.add_row(*(Text(cell) for cell in _cells(item)))
    Console().print(table if items else "no channels yet")
