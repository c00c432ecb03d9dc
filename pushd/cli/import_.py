"""``pushctl import``: publish what was exported, to an empty server or another one."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import click
import msgspec

from pushd.cli.connection import Connection, connection_options, run, say_retry
from pushd.cli.datadir import Meter
from pushd.cli.messages import visible
from pushd.client import Client, LineResult, RetryPolicy
from pushd.errors import BadRequest, PushdError

_SHOWN: Final = 5
_GIVE_UP_S: Final = 60.0
_CURE: Final = "Correct the line; 'pushctl export --help' shows the form. What is stored stays."


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
    work = _Import(file)

    async def main() -> None:
        policy = RetryPolicy(_GIVE_UP_S, on_retry=work.trouble)
        async with Client(connection.url, connection.credential, retries=policy) as client:
            async for result in client.publish_lines(work.lines(), batch=batch):
                work.count(result)

    try:
        run(main)
    except (PushdError, SystemExit):
        work.meter.clear()
        click.echo(f"stopped: {work.summary}. The same command goes on there.", err=True)
        raise
    finally:
        work.meter.clear()
    summary = work.summary
    click.echo(msgspec.json.encode(asdict(summary)) if as_json else str(summary))
    if summary.refused:
        sys.exit(1)


class _Import:
    """The lines of a file, and what became of them."""

    def __init__(self, file: Path) -> None:
        self.summary = Summary()
        self.meter = Meter()
        self._file = file
        # Bytes of the file (0: nobody knows), and of what was read.
        self._size = self._read = 0
        # Line numbers of what has no result yet.
        self._waiting: deque[int] = deque()
        self._troubled = False

    def lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Channel and message. Raises BadRequest that names the wrong line."""
        decode = msgspec.json.Decoder(Line).decode
        with click.open_file(str(self._file), "rb") as stream:
            self._size = _size_of(stream)
            for number, raw in enumerate(stream, 1):
                self._read += len(raw)
                if not raw.strip():
                    continue
                try:
                    line = decode(raw)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise BadRequest(f"{self._file}, line {number}: {error}.", cure=_CURE) from None
                self._waiting.append(number)
                yield line.channel, line.message()

    def count(self, result: LineResult) -> None:
        """Called with the results in the order of the lines."""
        self._troubled = False
        number, summary = self._waiting.popleft(), self.summary
        if result.published is None:
            summary.refused += 1
            if summary.refused <= _SHOWN and result.error is not None:
                self.meter.clear()
                why = f"refused for {result.channel}: {result.error.detail}"
                click.echo(f"line {number}, {visible(why)}", err=True)
        elif result.published.duplicate:
            summary.there_before += 1
        else:
            summary.stored += 1
        if self._size:
            self.meter("imported", self._read, self._size)
        else:
            self.meter("messages imported", result.line + 1, 0)

    def trouble(self, error: PushdError, _delay: float) -> None:
        """Said once until it goes on."""
        if not self._troubled:
            self.meter.clear()
            say_retry(error, _GIVE_UP_S)
        self._troubled = True


def _size_of(stream: IO[Any]) -> int:
    """0 for a pipe and the like."""
    with contextlib.suppress(OSError):
        status = os.fstat(stream.fileno())
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    return 0
