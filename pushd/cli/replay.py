"""``pushctl replay``: publish a recorded chat, as fast as it goes or in its own time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import msgspec
import trio

from pushd.cli.chatlines import ChatLine, messages_of, paced, read_lines
from pushd.cli.checked import Checked
from pushd.cli.connection import Connection, connection_options, run
from pushd.cli.progress import Progress, open_progress
from pushd.client import Client, LineResult, RetryPolicy
from pushd.core.names import check_channel
from pushd.errors import PushdError
from pushd.settings.units import parse_duration

# Refusals that are shown one by one; more would hide the summary.
SHOWN_REFUSALS = 5


@dataclass(slots=True)
class Summary:
    """What a replay did so far. ``rate``: stored messages and copies a second."""

    messages: int = 0
    inbox_copies: int = 0
    duplicates: int = 0
    refused: int = 0
    seconds: float = 0.0
    rate: float = 0.0

    def finish(self, seconds: float) -> None:
        """It took so long."""
        self.seconds = round(seconds, 3)
        self.rate = round((self.messages + self.inbox_copies) / seconds, 1) if seconds else 0.0

    def __str__(self) -> str:
        refused = f", {self.refused} refused" if self.refused else ""
        return (
            f"{self.messages} messages, {self.inbox_copies} inbox copies, of these"
            f" {self.duplicates} were there before{refused};"
            f" {self.seconds:.1f} s, {self.rate:.0f} a second"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay, and how."""

    file: Path
    channel: str
    inbox: bool
    prefix: str
    limit: int | None
    speed: float | None
    batch: int


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--channel", default="#ubuntu", show_default=True, type=Checked("text", check_channel)
)
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    help="In its own time, so many times faster: with 60 a minute takes a second.",
)
@click.option("--fast", is_flag=True, help="As fast as it goes (the default).")
@click.option("--limit", type=click.IntRange(1), help="Only so many lines of FILE.")
@click.option("--batch", type=click.IntRange(1, 5000), default=500, show_default=True,
              help="Messages in one request.")  # fmt: skip
@click.option("--no-inbox", is_flag=True, help="No copies to the inboxes of addressed users.")
@click.option("--id-prefix", default="replay", show_default=True, help="Another one stores anew.")
@click.option(
    "--give-up",
    default="60s",
    show_default=True,
    type=Checked("text", parse_duration),
    help="Stop after so long without an answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@connection_options("key")
def command(
    connection: Connection,
    file: Path,
    channel: str,
    speed: float | None,
    fast: bool,
    limit: int | None,
    batch: int,
    no_inbox: bool,
    id_prefix: str,
    give_up: float,
    as_json: bool,
) -> None:
    """Publish the chat in FILE: one JSON object a line, {"day","minute","user","text","to"?}.

    Each line goes to the channel, and to the inbox of the user whom it addresses. Started again
    after a stop, it stores nothing twice (for 24 hours). A restart of the server only delays it.

    \b
    Examples:
      pushctl replay chat.ndjson
      pushctl replay chat.ndjson --channel demo --speed 60 --limit 500
    """
    if fast and speed is not None:
        raise click.UsageError("Give --fast or --speed, not both.")
    plan = Plan(file, channel, not no_inbox, id_prefix, limit, speed, batch)
    total = sum(1 for _ in read_lines(file, limit))
    summary = Summary()

    async def main() -> None:
        with open_progress(total) as progress:
            policy = RetryPolicy(
                give_up, cap_s=2.0, on_retry=lambda error, delay: progress.trouble(error, give_up)
            )
            client = Client(connection.url, connection.credential, retries=policy)
            began = trio.current_time()
            try:
                async with client:
                    await replay(client, plan, summary, progress)
            finally:
                summary.finish(trio.current_time() - began)

    try:
        run(main)
    except (PushdError, SystemExit):
        click.echo(f"stopped: {summary}. The same command goes on there.", err=True)
        raise
    click.echo(msgspec.json.encode(asdict(summary)) if as_json else str(summary))
    if summary.refused:
        sys.exit(1)


async def replay(client: Client, plan: Plan, summary: Summary, progress: Progress) -> None:
    """Publish everything; counts into ``summary`` as the answers come."""
    lines = read_lines(plan.file, plan.limit)
    groups: Iterable[tuple[float, Iterable[ChatLine]]] = (
        [(0.0, lines)] if plan.speed is None else paced(lines, plan.speed)
    )
    began = trio.current_time()
    for due_s, group in groups:
        await trio.sleep_until(began + due_s)
        async for result in client.publish_lines(_published(group, plan), batch=plan.batch):
            _count(result, plan.channel, summary, progress)


def _published(lines: Iterable[ChatLine], plan: Plan) -> Iterator[tuple[str, dict[str, object]]]:
    for line in lines:
        yield from messages_of(line, plan.channel, plan.prefix, inbox=plan.inbox)


def _count(result: LineResult, channel: str, summary: Summary, progress: Progress) -> None:
    main = result.channel == channel
    if result.published is None:
        summary.refused += 1
        if summary.refused <= SHOWN_REFUSALS and result.error is not None:
            progress.say(f"refused for {result.channel}: {result.error.detail}")
    else:
        summary.messages += main
        summary.inbox_copies += not main
        summary.duplicates += result.published.duplicate
    if main:
        progress.advance()
