"""``pushctl tail``: follow channels as a client does, and go on there the next time."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pushd.cli.checked import CURSOR
from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.cursors import TailCursors
from pushd.cli.messages import line_for_people, line_for_programs
from pushd.cli.terminal import styled
from pushd.client import (
    Client,
    Dropped,
    Event,
    Expiring,
    Placed,
    Received,
    Reset,
    Status,
    Unreachable,
)
from pushd.core.names import check_channel, check_device
from pushd.errors import BadRequest

# A page may be long: save within it, too, but not after each message.
SAVE_EVERY = 200


@click.command("tail")
@click.argument("channels", nargs=-1, required=True, metavar="CHANNEL...")
@click.option(
    "--after",
    metavar="CURSOR",
    type=CURSOR,
    help="0: from the start; head: from now on; or a cursor. [where the last tail ended]",
)
@click.option("--device", help="Device id: the server records what it received.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per message.")
@click.option(
    "--state",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the cursors in this file. [~/.local/state/pushctl/...]",
)
@connection_options("token")
def command(
    connection: Connection,
    channels: tuple[str, ...],
    after: str | None,
    device: str | None,
    as_json: bool,
    file: Path | None,
) -> None:
    """Print messages as they come, until Ctrl-C.

    Goes on after the last message that was printed, also after a crash, in which case some may be
    printed again. The first time it prints what comes from now on.

    \b
    Examples:
      pushctl tail news
      pushctl tail --after 0 --json '#ubuntu' user:alice
    """
    names = _checked(channels, after, device)
    store = TailCursors(connection.url, connection.credential, file)
    begin = _begin(names, after, store, connection)
    tail = Tail(connection, store, as_json)

    async def main() -> None:
        client = Client(connection.url, connection.credential, device=device)
        async with client, client.follow(*begin, after=begin) as events:
            try:
                async for event in events:
                    tail.take(event, last_of_page=not events.ready)
            finally:
                tail.save()

    run(main, interrupted=0)


def _checked(channels: tuple[str, ...], after: str | None, device: str | None) -> list[str]:
    names = list(dict.fromkeys(channels))
    try:
        for name in names:
            check_channel(name)
        if device is not None:
            check_device(device)
    except BadRequest as error:
        raise click.UsageError(error.detail) from None
    if len(names) > 1 and after not in (None, "0", "head"):
        raise click.UsageError("A cursor belongs to one channel: give --after with one CHANNEL.")
    return names


def _begin(
    names: list[str], after: str | None, store: TailCursors, connection: Connection
) -> dict[str, str]:
    if after is not None:
        return dict.fromkeys(names, after)
    known = store.load(names)
    for name in names:
        if name in known:
            connection.explain(f"{name}: going on after {known[name]}")
        else:
            click.echo(f"{name}: from now on (--after 0 begins at the start)", err=True)
    return {name: known.get(name, "head") for name in names}


class Tail:
    """Prints each event, and saves how far it came."""

    def __init__(self, connection: Connection, store: TailCursors, as_json: bool) -> None:
        self._connection = connection
        self._store = store
        self._as_json = as_json
        self._unsaved: dict[str, str] = {}
        self._count = 0
        self._troubled = False

    def take(self, event: Event, *, last_of_page: bool) -> None:
        """``last_of_page``: nothing more can be had without waiting."""
        if isinstance(event, Received):
            self._print(event)
        elif isinstance(event, Reset):
            _warn(_about_reset(event))
        elif isinstance(event, Expiring):
            _warn(_about_expiring(event))
        elif isinstance(event, Dropped):
            _warn(f"{event.channel}: refused ({event.code}) {event.detail}".rstrip())
        elif isinstance(event, Status):
            self._about_connection(event)
        if isinstance(event, Received | Reset | Placed):
            self._unsaved[event.channel] = event.cursor
            self._count += 1
        if last_of_page or self._count >= SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """After printing: what was printed and not saved is printed again, never lost."""
        if self._unsaved:
            self._store.save(self._unsaved)
        self._unsaved, self._count = {}, 0

    def _print(self, event: Received) -> None:
        line = line_for_people(event.channel, event.message)
        if self._as_json:
            line = line_for_programs(event.channel, event.cursor, event.message)
        click.echo(line)

    def _about_connection(self, status: Status) -> None:
        good = status.kind in ("live", "recovered")
        if good and not self._troubled:
            self._connection.explain(f"{status.kind}: {status.detail}")
            return
        self._troubled = not good
        click.echo(styled(f"{status.kind}: {status.detail}", sys.stderr, fg="yellow"), err=True)
        if status.kind == "retrying":
            click.echo(Unreachable.cure, err=True)


def _about_reset(reset: Reset) -> str:
    lost = "it is not known how many" if reset.skipped is None else str(reset.skipped)
    return (
        f"{reset.channel}: reset ({reset.code}), messages missing: {lost}; "
        f"going on after {reset.resume}"
    )


def _about_expiring(event: Expiring) -> str:
    when = "when others come" if event.in_ms is None else f"from {event.in_ms / 1000:g} s on"
    return f"{event.channel}: falling behind, {event.messages} messages go {when}"


def _warn(text: str) -> None:
    click.echo(styled(text, sys.stderr, fg="yellow"), err=True)
