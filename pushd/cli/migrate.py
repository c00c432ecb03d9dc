"""``pushctl migrate``: the schema of this version, after a backup."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pushd.cli.datadir import FILE, Meter, data_options
from pushd.log.tools.migrate import migrate, pending


@click.command("migrate")
@click.option("--check", is_flag=True, help="Only say what is to come.")
@click.option(
    "--backup",
    "target",
    type=FILE,
    help="Where the backup goes. [before-migration-TIME.db in the data directory]",
)
@click.option("--no-backup", is_flag=True, help="Make no backup.")
@data_options
def command(check: bool, target: Path | None, no_backup: bool, data: Path) -> None:
    """Bring the log to the schema of this version. The server must be stopped.

    A start of the server does the same, without a backup. An older version does not open what a
    newer one has migrated: the backup is the way back.

    \b
    Examples:
      pushctl migrate --check
      pushctl migrate --data /var/lib/pushd --backup /backup/before.db
    """
    if no_backup and target is not None:
        raise click.UsageError("Give --backup or --no-backup, not both.")
    names = pending(data)
    if not names:
        click.echo(f"{data}: nothing to migrate")
        return
    click.echo(f"{data}: to come: {', '.join(names)}")
    if check:
        return
    if target is None and not no_backup:
        target = data / time.strftime("before-migration-%Y%m%dT%H%M%SZ.db", time.gmtime())
    meter = Meter()
    try:
        made = migrate(data, target, meter)
    finally:
        meter.clear()
    kept = f"; the backup is {made.path}" if made is not None else ""
    click.echo(f"{data}: migrated{kept}")
