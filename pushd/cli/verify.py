"""``pushctl verify``: is this log whole?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from pushd.cli.datadir import FILE, Meter, data_options, shown_time
from pushd.cli.terminal import styled
from pushd.log.tools.files import shown_size
from pushd.log.tools.verify import Report, verify


@click.command("verify")
@click.argument("path", type=FILE, required=False)
@click.option("--quick", is_flag=True, help="Leave out indexes, ids and what messages say.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@data_options
def command(path: Path | None, quick: bool, as_json: bool, data: Path) -> None:
    """Check a backup, or a data directory while it is served or not. Changes nothing.

    PATH is the backup or the directory; without it the directory of --data. Exit status: 0 when all
    holds, 1 when not.

    \b
    Examples:
      pushctl verify /backup/pushd.db
      pushctl verify --data /var/lib/pushd --json
    """
    meter = Meter()
    try:
        report = verify(data if path is None else path, meter, quick=quick)
    finally:
        meter.clear()
    if as_json:
        members = {"sound": report.is_sound, **asdict(report)}
        click.echo(msgspec.json.encode(members))
    else:
        click.echo(_shown(report))
    if not report.is_sound:
        sys.exit(1)


def _shown(report: Report) -> str:
    made = f", made {shown_time(report.made_at)} on {report.made_on}" if report.made_at else ""
    lines = [
        f"{report.path} ({report.kind}{made}): {shown_size(report.bytes)}, format {report.format}",
        f"{report.channels} channels, {report.messages} messages, newest"
        f" {shown_time(report.newest_at)}; {report.ids} ids, {report.delivered_marks} delivered and"
        f" {report.read_marks} read marks, {report.revocations} revocations,"
        f" {report.groups} groups with {report.members} members",
    ]
    if report.pending:
        lines.append(f"migrations to come: {', '.join(report.pending)}")
    if report.is_sound:
        how = "sound, as far as a quick look tells" if report.quick else "sound"
        return "\n".join([*lines, styled(how, sys.stdout, fg="green")])
    lines += [f"{styled('wrong:', sys.stdout, fg='red')} {text}" for text in report.problems]
    if report.more:
        lines.append(f"and {report.more} more")
    return "\n".join(lines)
