"""``pushctl import``: publish what was exported, to an empty server or another one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run, say_retry
from pushd.cli.datadir import Meter
from pushd.client import Client, LineResult, RetryPolicy
from pushd.errors import BadRequest, PushdError

_SHOWN: Final = 5
_GIVE_UP_S: Final = 60.0


class Line(msgspec.Struct):
    """As export writes it. ``epoch``, ``seq``, ``at`` are given anew."""

    channel: str
    data: msgspec.Raw
    id: str | None = None
    type: str | None = None
    sender: str | None = None

    def message(self) -> dict[str, Any]:
        given = {"id": self.id, "type": self.type, "sender": self.sender}
        return {"data": self.data, **{k: v for k, v in given.items() if v is not None}}


@dataclass(slots=True)
class Summary:
    stored: int = 0
    there_before: int = 0
    refused: int = 0

    def __str__(self) -> str:
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{self.stored} messages stored, {self.there_before} were there before{refused}"


@click.command("import")
@click.argument(
    "file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--batch",
    type=click.IntRange(1, 5000),
    default=500,
    show_default=True,
    help="Messages in one request.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@connection_options("key")
def command(connection: Connection, file: Path, batch: int, as_json: bool) -> None:
    """Publish the lines of FILE (- for standard input), as 'pushctl export' writes them.

    Order, ids, types, senders and data are kept. Numbers, epochs and times are given anew by the
    server. Started again within 24 hours, it stores nothing twice.

    \b
    Example:
      pushctl import messages.ndjson --url http://127.0.0.1:8080
    """
    summary, meter = Summary(), Meter()

    async def main() -> None:
        policy = RetryPolicy(_GIVE_UP_S, on_retry=lambda error, _: say_retry(error, _GIVE_UP_S))
        async with Client(connection.url, connection.credential, retries=policy) as client:
            lines = ((line.channel, line.message()) for line in _read(file))
            async for result in client.publish_lines(lines, batch=batch):
                _count(result, summary)
                meter("imported", result.line + 1, 0)

    try:
        run(main)
    except (PushdError, SystemExit):
        click.echo(f"stopped: {summary}. The same command goes on there.", err=True)
        raise
    finally:
        meter.clear()
    click.echo(msgspec.json.encode(asdict(summary)) if as_json else str(summary))
    if summary.refused:
        sys.exit(1)


def _read(file: Path) -> Iterator[Line]:
    decode = msgspec.json.Decoder(Line).decode
    with click.open_file(str(file), "rb") as stream:
        for number, raw in enumerate(stream, 1):
            if not raw.strip():
                continue
            try:
                yield decode(raw)
            except msgspec.DecodeError as error:
                raise BadRequest(f"{file}, line {number}: {error}.") from None


def _count(result: LineResult, summary: Summary) -> None:
    if result.published is None:
        summary.refused += 1
        if summary.refused <= _SHOWN and result.error is not None:
            click.echo(f"refused for {result.channel}: {result.error.detail}", err=True)
    elif result.published.duplicate:
        summary.there_before += 1
    else:
        summary.stored += 1
