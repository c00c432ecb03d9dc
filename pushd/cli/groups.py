"""``pushctl groups``: who is in which group."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.kicking import bye_options, say_kicked
from pushd.cli.tables import JSON_OPTION, LIMIT_OPTION, first, moment, name, print_items, yes
from pushd.client import Client, GroupItem, GroupOfUser, MembersChanged
from pushd.core.names import check_user
from pushd.errors import BadRequest, NotFound

MOST = 10_000  # users of one transaction


@click.group("groups")
def command() -> None:
    """List groups, and put users in and out. Needs a key: to change anything, with scope admin."""


@command.command("list")
@click.option("--prefix", default="", help="Only those whose names begin so.")
@click.option("--user", help="Only those that this user is in.")
@LIMIT_OPTION
@JSON_OPTION
@connection_options("key")
def list_groups(
    connection: Connection, prefix: str, user: str | None, limit: int | None, as_json: bool
) -> None:
    """List the groups, with how many are in each.

    \b
    Examples:
      pushctl groups list
      pushctl groups list --user alice --json
    """
    if prefix and user is not None:
        raise click.UsageError("Give --prefix or --user, not both.")

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            if user is None:
                _show_groups(await first(client.groups.list(prefix), limit), as_json)
            else:
                _show_groups_of_user(await first(client.users.groups(user), limit), as_json)

    run(main)


def _show_groups(found: list[GroupItem], as_json: bool) -> None:
    rows = [(name(each.group), str(each.members)) for each in found]
    nothing = "no groups yet: pushctl groups add GROUP USER"
    print_items(found, as_json, ("group", "members"), rows, nothing, ("members",))


def _show_groups_of_user(found: list[GroupOfUser], as_json: bool) -> None:
    rows = [(name(each.group), str(each.members), moment(each.joined)) for each in found]
    columns = ("group", "members", "joined")
    print_items(found, as_json, columns, rows, "in no group", ("members",))


@command.command()
@click.argument("group")
@LIMIT_OPTION
@JSON_OPTION
@connection_options("key")
def members(connection: Connection, group: str, limit: int | None, as_json: bool) -> None:
    """List who is in GROUP, since when, and who of them is online.

    \b
    Example:
      pushctl groups members staff
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            found = await first(client.groups.members(group), limit)
        rows = [(name(each.user), yes(each.online), moment(each.joined)) for each in found]
        print_items(found, as_json, ("user", "online", "joined"), rows, "nobody is in it")

    run(main)


@command.command()
@click.argument("group")
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@connection_options("key")
def add(connection: Connection, group: str, users: tuple[str, ...]) -> None:
    """Put users into GROUP, effective at once. With - they are read from standard input.

    10,000 are one transaction; more are several.

    \b
    Examples:
      pushctl groups add staff alice bob
      pushctl groups add staff - < users.txt
    """
    _change(connection, group, users, lambda client, some: client.groups.add(group, some))


@command.command()
@click.argument("group")
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@connection_options("key")
def remove(connection: Connection, group: str, users: tuple[str, ...]) -> None:
    """Take users out of GROUP, effective at once. With - they are read from standard input.

    \b
    Example:
      pushctl groups remove staff bob
    """
    _change(connection, group, users, lambda client, some: client.groups.remove(group, some))


def _change(
    connection: Connection, group: str, given: tuple[str, ...], change: Callable[..., object]
) -> None:
    users = _names(given)

    async def main() -> None:
        added = removed = 0
        async with Client(connection.url, connection.credential) as client:
            for at in range(0, len(users), MOST):
                done: MembersChanged = await change(client, users[at : at + MOST])  # type: ignore[misc]
                added, removed = added + done.added, removed + done.removed
        click.echo(f"{name(group)}: {added} added, {removed} removed, {done.members} in it")

    run(main)


def _names(given: tuple[str, ...]) -> list[str]:
    """All are looked at before anything is changed. Raises BadRequest."""
    names = list(given)
    if given == ("-",):
        names = [line.strip() for line in sys.stdin if line.strip()]
        if not names:
            raise BadRequest("There are no names on standard input, one a line.")
    return [check_user(each) for each in names]


@command.command()
@click.argument("group")
@click.option("--yes", "sure", is_flag=True, help="Do not ask.")
@connection_options("key")
def delete(connection: Connection, group: str, sure: bool) -> None:
    """End GROUP: all memberships, and all its messages.

    \b
    Example:
      pushctl groups delete staff
    """
    if not sure:
        if not sys.stdin.isatty():
            raise click.UsageError("Its messages will be gone: say --yes.")
        click.confirm(f"End {name(group)}, with all its messages?", abort=True)

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            try:
                done = await client.groups.delete(group)
            except NotFound as error:
                raise NotFound(error.detail, cure="See 'pushctl groups list'.") from None
        click.echo(f"{name(group)}: ended, {done.removed} were in it")

    run(main)


@command.command()
@click.argument("group")
@bye_options
@connection_options("key")
def kick(connection: Connection, group: str, reason: str | None, reconnect: bool) -> None:
    """End all sessions of all members, who stay members.

    \b
    Example:
      pushctl groups kick staff --reason maintenance --reconnect
    """

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            say_kicked(await client.groups.kick(group, reason=reason, reconnect=reconnect))

    run(main)
