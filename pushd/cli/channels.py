"""``pushctl channels``: what the server has."""

from __future__ import annotations

import sys
from datetime import datetime

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.messages import visible
from pushd.client import ChannelInfo, ChannelItem, Client, SlowDevice


@click.command("channels")
@click.argument("channel", required=False)
@click.option("--prefix", default="", help="Only those whose names begin so.")
@click.option("--json", "as_json", is_flag=True, help="Print what the server says as JSON.")
@connection_options("key")
def command(connection: Connection, channel: str | None, prefix: str, as_json: bool) -> None:
    """List the channels: name, epoch, oldest retained and newest seq. Needs a key.

    Of one CHANNEL: how much is in it, and which of the devices that were heard of within a day
    (cursor_active) lacks most of it.

    \b
    Examples:
      pushctl channels
      pushctl channels --prefix user: --json
      pushctl channels news
    """
    if channel is not None and prefix:
        raise click.UsageError("--prefix is for the list: leave it out, or the name.")

    async def main() -> None:
        if channel is not None:
            async with Client(connection.url, connection.credential) as client:
                _show(await client.channel(channel), as_json)
            return
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


def _show(info: ChannelInfo, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(info))
        return
    members = {
        "channel": visible(info.channel),
        "epoch": info.epoch,
        "first": info.first,
        "head": info.head,
        "messages": info.messages,
        "bytes": info.bytes,
        "newest": _time(info.at),
        "followers": info.followers,
        "held": info.held,
        "slowest": "no active device" if info.slowest is None else _slow(info.slowest),
    }
    for name, value in members.items():
        click.echo(f"{name}\t{value}")


def _slow(slowest: SlowDevice) -> str:
    gone = f", {slowest.gone} of them gone" if slowest.gone else ""
    return (
        f"{visible(slowest.user)} on {visible(slowest.device)}, {slowest.behind} behind{gone}"
        f" ({slowest.cursor}), seen {_time(slowest.last_seen)}"
    )


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000).astimezone().isoformat(" ", "seconds")


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
