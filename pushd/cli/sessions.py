"""``pushctl sessions``: who is connected, and how."""

from __future__ import annotations

import sys
from functools import partial

import click

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.kicking import bye_options, say_kicked
from pushd.cli.tables import JSON_OPTION, LIMIT_OPTION, first, moment, name, print_items
from pushd.cli.terminal import say_error
from pushd.client import Client, SessionItem

COLUMNS = ("session", "user", "device", "transport", "node", "address", "since", "seen")


@click.group("sessions")
def command() -> None:
    """List live sessions, and end them. Needs a key: to end one, with scope admin."""


@command.command("list")
@click.option("--user", help="Only those of this user.")
@click.option("--node", help="Only those of this node, by its id.")
@LIMIT_OPTION
@JSON_OPTION
@connection_options("key")
def list_sessions(
    connection: Connection, user: str | None, node: str | None, limit: int | None, as_json: bool
) -> None:
    """List the sessions: WebSockets, event streams, and devices that poll.

    \b
    Examples:
      pushctl sessions list
      pushctl sessions list --user alice --json
      pushctl sessions list --node host2
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            found = await first(client.sessions.list(user=user, node=node), limit)
        rows = map(cells, found)
        print_items(found, as_json, COLUMNS, rows, "nobody is connected")

    run(main)


def cells(session: SessionItem) -> tuple[str, ...]:
    """One row."""
    return (
        session.session,
        name(session.user),
        name(session.device),
        session.transport,
        name(session.node),
        name(session.address),
        moment(session.since),
        moment(session.last_seen),
    )


@command.command()
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION...")
@bye_options
@connection_options("key")
def kick(
    connection: Connection, sessions: tuple[str, ...], reason: str | None, reconnect: bool
) -> None:
    """End sessions, by the ids that 'pushctl sessions list' shows.

    Leaves with 1 when one of them is not there. A client with a good token can connect again:
    'pushctl users kick --revoke' keeps it out.

    \b
    Example:
      pushctl sessions kick nKS2vFt0b2gR7wq1 --reason "use the new version"
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            kick_one = partial(client.sessions.kick, reason=reason, reconnect=reconnect)
            gone = [each for each in sessions if not await kick_one(each)]
        say_kicked(len(sessions) - len(gone))
        if gone:
            say_error(
                f"There is no session {', '.join(map(name, gone))}.",
                "It may have ended: see 'pushctl sessions list'.",
            )
            sys.exit(1)

    run(main)
