"""``pushctl publish``: store one message."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run, say_retry
from pushd.client import Client, Published, RetryPolicy
from pushd.core.names import check_channel, check_user
from pushd.errors import BadRequest, PushdError

GIVE_UP_S = 5.0


@click.command("publish")
@click.argument("arguments", nargs=-1, metavar="CHANNEL [DATA]")
@click.option("--to-user", "--user", "user", help="To this user's inbox; leave CHANNEL out.")
@click.option("--type", "type_", help="Type of the message. [message]")
@click.option("--id", "id_", help="Idempotency id: the same one again stores nothing again.")
@click.option("--sender", help="In whose name (services only).")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@connection_options("key")
def command(
    connection: Connection,
    arguments: tuple[str, ...],
    user: str | None,
    type_: str | None,
    id_: str | None,
    sender: str | None,
    as_json: bool,
) -> None:
    """Store a message; returns when it is on disk.

    DATA is JSON if it reads as JSON, else a string. Without DATA, or with -, standard input is
    read. Printed is where it went: CHANNEL EPOCH.SEQ.

    \b
    Examples:
      pushctl publish news '{"text":"hello"}'
      echo done | pushctl publish builds --id build-17
      pushctl publish --to-user alice 'See you at noon'
    """
    channel, text = _split(arguments, user)
    data = read_data(text)
    if isinstance(data, str) and data.lstrip()[:1] in ("{", "["):
        click.echo("note: DATA looks like JSON and is none; it goes as a string", err=True)

    async def main() -> None:
        policy = RetryPolicy(GIVE_UP_S, on_retry=_say_first_retry())
        async with Client(connection.url, connection.credential, retries=policy) as client:
            done = await client.publish(channel, data, type=type_, id=id_, sender=sender)
        click.echo(_shown(done, as_json))

    run(main)


def _split(arguments: tuple[str, ...], user: str | None) -> tuple[str, str | None]:
    """Channel and data. With --to-user the only argument is the data."""
    try:
        if user is not None:
            rest, channel = arguments, check_channel(f"user:{check_user(user)}")
        elif not arguments:
            raise click.UsageError("Missing argument 'CHANNEL'.")
        else:
            channel, rest = check_channel(arguments[0]), arguments[1:]
    except BadRequest as error:
        raise click.UsageError(error.detail) from None
    if len(rest) > 1:
        raise click.UsageError("Too many arguments: quote DATA so that it is one.")
    return channel, rest[0] if rest else None


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


def _say_first_retry() -> Callable[[PushdError, float], None]:
    said = False

    def say(error: PushdError, _delay: float) -> None:
        nonlocal said
        if not said:
            say_retry(error, GIVE_UP_S)
        said = True

    return say


def _shown(done: Published, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(done).decode()
    again = " (was there before)" if done.duplicate else ""
    return f"{done.channel} {done.epoch}.{done.seq}{again}"
