"""``pushctl pull``: the messages after a cursor."""

from __future__ import annotations

import click
import msgspec

from pushd.cli.checked import CURSOR
from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.messages import line_for_people
from pushd.client import Client, Pulled
from pushd.core.names import check_channel
from pushd.errors import BadRequest, Reset

MAX_LIMIT = 1000
MAX_WAIT_S = 60.0


@click.command("pull")
@click.argument("channel")
@click.option(
    "--after",
    metavar="CURSOR",
    type=CURSOR,
    help="0: from the start; head: from now on; or a cursor that was printed. [0]",
)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), help="At most so many. [100]")
@click.option("--wait", type=click.FloatRange(0, MAX_WAIT_S), help="Wait so many seconds for news.")
@click.option("--last", type=click.IntRange(1, MAX_LIMIT), help="The newest so many instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@connection_options("token")
def command(
    connection: Connection,
    channel: str,
    after: str | None,
    limit: int | None,
    wait: float | None,
    last: int | None,
    as_json: bool,
) -> None:
    """Print the messages of CHANNEL after a cursor, and the next cursor on standard error.

    Leaves with 1 when they are not all there any more; the cursor to go on from is printed.

    \b
    Examples:
      pushctl pull news
      pushctl pull news --last 20
      pushctl pull news --after 0mhx3f9ab.41 --wait 25 --json
    """
    try:
        check_channel(channel)
    except BadRequest as error:
        raise click.BadParameter(error.detail, param_hint="CHANNEL") from None
    if last is not None and (after, limit, wait) != (None, None, None):
        raise click.UsageError("--last goes without --after, --limit and --wait.")

    async def main() -> None:
        async with Client(connection.url, connection.credential) as client:
            try:
                if last is not None:
                    pulled = await client.history(channel, limit=last)
                else:
                    pulled = await client.pull(channel, after=after or "0", limit=limit, wait=wait)
            except Reset as reset:
                click.echo(f"resume: {reset.extra.get('resume')}", err=True)
                raise
        _show(channel, pulled, as_json, back=last is not None)

    run(main)


def _show(channel: str, pulled: Pulled, as_json: bool, *, back: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(pulled))
        return
    for message in pulled.messages:
        click.echo(line_for_people(channel, message))
    rest = f" (more, up to {pulled.head})" if pulled.more and not back else ""
    click.echo(f"next: {pulled.next}{rest}", err=True)
