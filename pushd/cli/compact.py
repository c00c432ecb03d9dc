"""``pushctl compact``: gives the room that was freed in the log back to the system."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from pushd.cli.datadir import Meter, data_options
from pushd.log.tools.compact import Compacted, compact
from pushd.log.tools.files import shown_size


@click.command("compact")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@data_options
def command(as_json: bool, data: Path) -> None:
    """Write the log anew, without the room that was freed in it. The server must be stopped.

    The new file is written beside the old one, synced, and compared with it, message by message,
    before it takes its place. Killed at any moment, this leaves the old log or the new one. It
    needs free space for what is kept.

    \b
    Examples:
      pushctl compact --data /var/lib/pushd
    """
    meter = Meter()
    try:
        done = compact(data, meter)
    finally:
        meter.clear()
    click.echo(msgspec.json.encode(_members(data, done)) if as_json else _shown(data, done))


def _members(data: Path, done: Compacted) -> dict[str, object]:
    return {"path": str(data), **asdict(done)}


def _shown(data: Path, done: Compacted) -> str:
    report = done.report
    return (
        f"{data}: {shown_size(done.after)}, before {shown_size(done.before)};"
        f" {report.channels} channels, {report.messages} messages, all as they were;"
        f" {done.seconds:.1f} s"
    )
