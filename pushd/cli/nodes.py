"""``pushctl nodes``: who is in the cluster, and how each is."""

from __future__ import annotations

import click

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.tables import JSON_OPTION, moment, name, print_items
from pushd.client import Client, NodeItem

COLUMNS = ("node", "role", "sessions", "connections", "lag", "stale", "redis", "since", "url")


@click.command("nodes")
@JSON_OPTION
@connection_options("key")
def command(connection: Connection, as_json: bool) -> None:
    """List the nodes, the owner of the log first.

    lag says how late a node's loop is; stale, how long ago the owner confirmed that an edge is
    current.

    \b
    Examples:
      pushctl nodes
      pushctl nodes --json
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            found = [each async for each in client.nodes.list()]
        numbers = ("sessions", "connections", "lag", "stale")
        print_items(found, as_json, COLUMNS, map(_cells, found), "there is none", numbers)

    run(main)


def _cells(node: NodeItem) -> tuple[str, ...]:
    return (
        name(node.node),
        node.role,
        str(node.sessions),
        str(node.connections),
        f"{node.lag_ms:.0f} ms",
        "-" if node.stale_ms is None else f"{node.stale_ms} ms",
        name(node.redis or None),
        moment(node.since),
        name(node.url or None),
    )
