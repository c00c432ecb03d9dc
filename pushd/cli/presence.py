"""``pushctl presence``: who is in a room."""

from __future__ import annotations

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.messages import visible
from pushd.cli.tables import JSON_OPTION, name, print_json, print_rows
from pushd.client import Client


@click.command("presence")
@click.argument("channel")
@JSON_OPTION
@connection_options("key")
def command(connection: Connection, channel: str, as_json: bool) -> None:
    """List who follows CHANNEL, with what the application lets others know of them.

    Its namespace must have presence = true. 'pushctl users list --online' lists all who are online,
    and 'pushctl tail '$presence:CHANNEL'' tells who comes and goes.

    \b
    Example:
      pushctl presence room:7
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            found = await client.presence(channel)
        if as_json:
            print_json({each: getattr(found, each) for each in ("channel", "presence", "cursor")}
                       | {"count": found.count, "items": found.items})  # fmt: skip
            return
        rows = [
            (name(each.user), visible(msgspec.json.encode(each.attributes).decode()))
            for each in found.items
        ]
        print_rows(("user", "attributes"), rows, "nobody is there")

    run(main)
