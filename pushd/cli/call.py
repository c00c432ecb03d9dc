"""``pushctl call``: ask the application behind pushd."""

from __future__ import annotations

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.publish import GIVE_UP_S, read_data, say_first_retry
from pushd.client import Client, RetryPolicy
from pushd.errors import CallRefused


@click.command("call")
@click.argument("name")
@click.argument("data", required=False)
@click.option("--id", "id_", help="The same one again is the same call, for the application.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0.1), default=60.0, help="Seconds to wait. [60]"
)
@connection_options("token")
def command(
    connection: Connection, name: str, data: str | None, id_: str | None, wait_s: float
) -> None:
    """Call NAME with DATA, as a user: needs a token. Prints the application's answer as JSON.

    DATA is JSON if it reads as JSON, else a string; with - standard input is read; without it null.
    When the application says no, its words are the error, and what it says besides goes to standard
    error as JSON.

    \b
    Examples:
      pushctl call ORDER_CREATE '{"item":"tea"}'
      pushctl call HELLO --token "$TOKEN" --id hello-1
    """
    given = None if data is None else read_data(data)

    async def main() -> None:
        policy = RetryPolicy(GIVE_UP_S, on_retry=say_first_retry())
        async with Client(connection.url, connection.credential, retries=policy) as client:
            try:
                answer = await client.call(name, given, id=id_, wait_s=wait_s)
            except CallRefused as refused:
                if "data" in refused.extra:
                    click.echo(msgspec.json.encode(refused.extra["data"]), err=True)
                raise
        click.echo(msgspec.json.encode(answer))

    run(main)
