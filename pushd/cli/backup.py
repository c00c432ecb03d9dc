"""``pushctl backup``: one file with everything, from a log that is served or not."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from pushd.cli.datadir import FILE, Meter, data_options, shown_time
from pushd.log.tools.backup import Backup, backup
from pushd.log.tools.files import shown_size


@click.command("backup")
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Replace FILE once the new backup is complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@data_options
def command(file: Path, force: bool, as_json: bool, data: Path) -> None:
    """Copy the log into FILE, while the server runs or not.

    FILE holds the log of one moment. It is checked before it gets its name, and synced; only its
    owner can read it. What had the name before stays until then. The server goes on meanwhile; its
    -wal file grows by what is published.

    \b
    Examples:
      pushctl backup /backup/pushd.db
      pushctl backup --data /var/lib/pushd "/backup/pushd-$(date +%F).db"
    """
    # The server comes first.
    with contextlib.suppress(OSError):
        os.nice(10)
    meter = Meter()
    try:
        made = backup(data, file, meter, overwrite=force)
    finally:
        meter.clear()
    click.echo(msgspec.json.encode(_members(made)) if as_json else _shown(made))


def _members(made: Backup) -> dict[str, object]:
    return {**asdict(made), "path": str(made.path), "report": asdict(made.report)}


def _shown(made: Backup) -> str:
    report = made.report
    return (
        f"{made.path}: {shown_size(made.bytes)}, {report.channels} channels, {report.messages}"
        f" messages, the newest of {shown_time(report.newest_at)}; checked; {made.seconds:.1f} s\n"
        f"sha256 {made.sha256}"
    )
