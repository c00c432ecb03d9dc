"""``pushctl channels``: what the server has."""

from __future__ import annotations

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.messages import visible
from pushd.cli.tables import JSON_OPTION, moment, print_items, print_members
from pushd.client import ChannelInfo, ChannelItem, Client, SlowDevice


@click.command("channels")
@click.argument("channel", required=False)
@click.option("--prefix", default="", help="Only those whose names begin so.")
@JSON_OPTION
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
        columns = ("channel", "epoch", "first", "head")
        rows = map(_cells, items)
        print_items(items, as_json, columns, rows, "no channels yet", numbers=("first", "head"))

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
        "newest": moment(info.at),
        "followers": info.followers,
        "held": info.held,
        "slowest": "no active device" if info.slowest is None else _slow(info.slowest),
    }
    print_members(members)


def _slow(slowest: SlowDevice) -> str:
    gone = f", {slowest.gone} of them gone" if slowest.gone else ""
    return (
        f"{visible(slowest.user)} on {visible(slowest.device)}, {slowest.behind} behind{gone}"
        f" ({slowest.cursor}), seen {moment(slowest.last_seen)}"
    )


def _cells(item: ChannelItem) -> tuple[str, str, str, str]:
    return visible(item.channel), item.epoch, str(item.first), str(item.head)
