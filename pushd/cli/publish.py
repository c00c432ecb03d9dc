"""``pushctl publish``: store one message."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run, say_retry
from pushd.cli.messages import visible
from pushd.cli.tables import print_json
from pushd.client import Client, Published, Results, RetryPolicy
from pushd.core.names import check_channel, check_user
from pushd.errors import BadRequest, PushdError

GIVE_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class _Targets:
    """Beside CHANNEL. Any of them: then there is no argument CHANNEL."""

    channels: tuple[str, ...]
    users: tuple[str, ...]
    groups: tuple[str, ...]
    sessions: tuple[str, ...]
    everybody: bool

    def __bool__(self) -> bool:
        return bool(self.channels or self.users or self.groups or self.sessions or self.everybody)

    def check(self) -> None:
        """Raises BadRequest before anything is sent."""
        for channel in self.channels:
            check_channel(channel)
        for each in (*self.users, *self.groups):
            check_user(each)


@click.command("publish")
@click.argument("arguments", nargs=-1, metavar="[CHANNEL] [DATA]")
@click.option("--user", "--to-user", "users", multiple=True, help="To this user's inbox.")
@click.option("--group", "groups", multiple=True, help="To the members of this group.")
@click.option("--session", "sessions", multiple=True, help="To this live session, by its id.")
@click.option("--channel", "channels", multiple=True, help="To this channel, beside others.")
@click.option("--all", "everybody", is_flag=True, help="To everybody.")
@click.option("--wait", "wait_delivered", metavar="USER", help="Until a device of USER has it.")
@click.option(
    "--wait-s", type=click.FloatRange(0, 60), default=5.0, help="For so many seconds. [5]"
)
@click.option("--type", "type_", help="Type of the message. [message]")
@click.option("--id", "id_", help="Idempotency id: the same one again stores nothing again.")
@click.option("--sender", help="In whose name (services only).")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@connection_options("key")
def command(
    connection: Connection,
    arguments: tuple[str, ...],
    users: tuple[str, ...],
    groups: tuple[str, ...],
    sessions: tuple[str, ...],
    channels: tuple[str, ...],
    everybody: bool,
    wait_delivered: str | None,
    wait_s: float,
    type_: str | None,
    id_: str | None,
    sender: str | None,
    as_json: bool,
) -> None:
    """Store a message; returns when it is on disk.

    DATA is JSON if it reads as JSON, else a string. Without DATA, or with -, standard input is
    read. Printed is where it went: CHANNEL EPOCH.SEQ.

    With --user, --group, --session, --channel or --all there is no argument CHANNEL. All of them
    may be given, and more than once: it is stored in all places or in none, and each line says
    whether somebody is online for it.

    \b
    Examples:
      pushctl publish news '{"text":"hello"}'
      echo done | pushctl publish builds --id build-17
      pushctl publish --user alice --user bob 'See you at noon'
      pushctl publish --group staff --all 'Lunch is ready'
      pushctl publish --user alice --wait alice 'Are you there?'
    """
    targets, text = _split(arguments, _Targets(channels, users, groups, sessions, everybody))
    data = read_data(text)
    if isinstance(data, str) and data.lstrip()[:1] in ("{", "["):
        click.echo("note: DATA looks like JSON and is none; it goes as a string", err=True)

    async def main() -> None:
        policy = RetryPolicy(GIVE_UP_S, on_retry=say_first_retry())
        async with Client(connection.url, connection.credential, retries=policy) as client:
            if isinstance(targets, str) and wait_delivered is None:
                done = await client.publish(targets, data, type=type_, id=id_, sender=sender)
                print_json(done) if as_json else click.echo(_shown(done))
                return
            to = _Targets((targets,), (), (), (), False) if isinstance(targets, str) else targets
            results = await client.publish_to(
                data, channels=to.channels, users=to.users, groups=to.groups,
                sessions=to.sessions, everybody=to.everybody, type=type_, id=id_, sender=sender,
                wait_delivered=wait_delivered, wait_s=wait_s,
            )  # fmt: skip
        _show_all(results, wait_delivered, as_json)

    run(main)


def _split(arguments: tuple[str, ...], targets: _Targets) -> tuple[str | _Targets, str | None]:
    """Where to, and the data. With targets the only argument is the data."""
    where: str | _Targets = targets
    rest = arguments
    try:
        targets.check()
        if not targets:
            if not arguments:
                raise click.UsageError("Missing argument 'CHANNEL', or --user, --group, --all, …")
            where, rest = check_channel(arguments[0]), arguments[1:]
    except BadRequest as error:
        raise click.UsageError(error.detail) from None
    if len(rest) > 1:
        raise click.UsageError("Too many arguments: quote DATA so that it is one.")
    return where, rest[0] if rest else None


def read_data(text: str | None) -> msgspec.Raw | str:
    """What to send: JSON byte for byte as it was given, or a string."""
    if text is None or text == "-":
        if sys.stdin.isatty():
            click.echo("Type the message; Ctrl-D ends it.", err=True)
        raw = sys.stdin.buffer.read()
    else:
        raw = text.encode(errors="surrogateescape")
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        raise BadRequest("The message is not UTF-8.") from None
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        # A line end belongs to the shell's echo, not to the message.
        return decoded.removesuffix("\n")
    return msgspec.Raw(raw.strip())


def say_first_retry() -> Callable[[PushdError, float], None]:
    """For a RetryPolicy: why it takes longer, once."""
    said = False

    def say(error: PushdError, _delay: float) -> None:
        nonlocal said
        if not said:
            say_retry(error, GIVE_UP_S)
        said = True

    return say


def _shown(done: Published) -> str:
    there = "" if done.online is None else " online" if done.online else " offline"
    again = " (was there before)" if done.duplicate else ""
    return f"{visible(done.channel)} {done.epoch}.{done.seq}{there}{again}"


def _show_all(results: Results, waited_for: str | None, as_json: bool) -> None:
    delivered = results.delivered
    if as_json:
        told = {} if delivered is None else {"delivered": delivered}
        print_json({"results": list(results), **told})
        return
    for each in results:
        click.echo(_shown(each))
    if waited_for is not None:
        click.echo(f"{visible(waited_for)} {'has it' if delivered else 'does not have it yet'}")
