"""``pushctl inbox``: what a user has not read."""

from __future__ import annotations

import sys

import click

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.tables import JSON_OPTION, name, print_json, print_rows
from pushd.client import Client, InboxItem

_COLUMNS = ("channel", "unread", "head", "read", "delivered")


@click.command("inbox")
@click.option("--device", help="Show what this device was given.")
@JSON_OPTION
@connection_options("token")
def command(connection: Connection, device: str | None, as_json: bool) -> None:
    """List a user's own channels: what is unread, and how far it is read. Needs a token.

    \b
    Examples:
      pushctl inbox
      pushctl inbox --token "$TOKEN" --device phone --json
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential, device=device) as client:
            found = await client.inbox()
        if as_json:
            print_json({"items": found.items, "unread": found.unread})
            return
        rows = [
            (name(each.channel), str(each.unread), str(each.head), *map(name, _marks(each)))
            for each in found.items
        ]
        print_rows(_COLUMNS, rows, "nothing", numbers=("unread", "head"))
        if sys.stdout.isatty():
            click.echo(f"{found.unread} unread")

    run(main)


def _marks(item: InboxItem) -> tuple[str | None, str | None]:
    return item.read, item.delivered
