"""``pushctl users``: who is online, how far each device is, and putting somebody out."""

from __future__ import annotations

import click

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.kicking import bye_options, say_kicked
from pushd.cli.sessions import COLUMNS, cells
from pushd.cli.tables import (
    JSON_OPTION,
    LIMIT_OPTION,
    first,
    moment,
    name,
    print_items,
    print_json,
    print_members,
    print_rows,
    yes,
)
from pushd.client import Client, UserChannel, UserInfo

_CHANNELS = ("channel", "head", "unread", "read", "device", "delivered", "lag")
_NUMBERS = ("sessions", "head", "unread", "lag")


@click.group("users")
def command() -> None:
    """List users, look at one, and put somebody out. Needs a key."""


@command.command("list")
@click.option("--online/--offline", default=None, help="Only those who are, or are not.")
@LIMIT_OPTION
@JSON_OPTION
@connection_options("key")
def list_users(
    connection: Connection, online: bool | None, limit: int | None, as_json: bool
) -> None:
    """List everybody who is online or has an inbox.

    \b
    Examples:
      pushctl users list --online
      pushctl users list --limit 20 --json
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            found = await first(client.users.list(online=online), limit)
        columns = ("user", "online", "sessions", "last seen")
        rows = [
            (name(each.user), yes(each.online), str(each.sessions), moment(each.last_seen))
            for each in found
        ]
        print_items(found, as_json, columns, rows, "nobody", numbers=_NUMBERS)

    run(main)


@command.command()
@click.argument("user")
@JSON_OPTION
@connection_options("key")
def show(connection: Connection, user: str, as_json: bool) -> None:
    """Print what is known of USER: sessions, groups, and how far each device is in each channel.

    \b
    Example:
      pushctl users show alice
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            info = await client.users.get(user)
            groups = [each.group async for each in client.users.groups(user)]
        if as_json:
            print_json({**_members(info), "groups": groups})
        else:
            _print(info, groups)

    run(main)


def _members(info: UserInfo) -> dict[str, object]:
    return {each: getattr(info, each) for each in info.__struct_fields__}


def _print(info: UserInfo, groups: list[str]) -> None:
    print_members(
        {
            "user": name(info.user),
            "online": yes(info.online),
            "last seen": moment(info.last_seen),
            "groups": ", ".join(map(name, groups)) or "-",
        }
    )
    if info.sessions:
        click.echo()
        print_rows(COLUMNS, map(cells, info.sessions), "")
    if info.channels:
        click.echo()
        rows = [row for each in info.channels for row in _rows(each)]
        print_rows(_CHANNELS, rows, "", numbers=_NUMBERS)


def _rows(channel: UserChannel) -> list[tuple[str, ...]]:
    """One for each device; one without, where there is none."""
    unread = "-" if channel.unread is None else str(channel.unread)
    start = (name(channel.channel), str(channel.head), unread, name(channel.read))
    devices = [(name(each.device), each.delivered, str(each.lag)) for each in channel.devices]
    return [(*start, *device) for device in devices or [("-", "-", "-")]]


@command.command()
@click.argument("user")
@click.option("--revoke", is_flag=True, help="Also refuse all tokens of before now, for 30 days.")
@bye_options
@connection_options("key")
def kick(
    connection: Connection, user: str, revoke: bool, reason: str | None, reconnect: bool
) -> None:
    """End all sessions of USER.

    A client with a good token can connect again, unless it is revoked. Tokens that are issued after
    that are good: stop issuing them first.

    \b
    Examples:
      pushctl users kick alice --reason maintenance --reconnect
      pushctl users kick mallory --revoke
    """
    if revoke and reconnect:
        raise click.UsageError("Give --revoke or --reconnect, not both.")

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            sessions = await client.sessions.list(user=user).all() if revoke else []
            if revoke:
                await client.users.revoke(user)  # which ends them as well
            kicked = await client.users.kick(user, reason=reason, reconnect=reconnect)
        say_kicked(max(kicked, len(sessions)))
        if revoke:
            click.echo(f"tokens of {name(user)} that were issued until now are refused")

    run(main)
