"""``pushctl restore``: a backup in the place of the log, or new epochs for what is there."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pushd.cli.datadir import FILE, Meter, data_options, shown_time
from pushd.cli.terminal import say_warning
from pushd.errors import RestoreRefused
from pushd.log.tools.epochs import Renewed
from pushd.log.tools.restore import Plan, adopt, restore
from pushd.log.tools.source import check_stopped
from pushd.log.tools.verify import Report, verify


@click.command("restore")
@click.argument("file", type=FILE, required=False)
@click.option(
    "--adopt",
    "adopts",
    is_flag=True,
    help="No FILE: only new epochs for a directory that was copied or rolled back.",
)
@click.option("--force", is_flag=True, help="Do not ask.")
@data_options
def command(file: Path | None, adopts: bool, force: bool, data: Path) -> None:
    """Put the backup FILE in the place of the log. The server must be stopped.

    FILE is checked first. Every channel gets a new epoch, so that clients notice: they get
    epoch_changed and load what there is. The log that was there is kept beside the new one, in
    replaced-TIME. Killed at any moment, this leaves the old log or the new one.

    \b
    Examples:
      pushctl restore /backup/pushd.db
      pushctl restore /backup/pushd.db --data /var/lib/pushd --force
      pushctl restore --adopt      after a copy of a directory, or a snapshot that was rolled back
      pushctl restore --adopt --force      the same from a script
    """
    if adopts == (file is not None):
        raise click.UsageError("Give FILE, or --adopt for the log that is there.")
    if not (force or _can_ask()):
        # Now: checking a large backup takes minutes.
        what = "--adopt" if file is None else file
        raise RestoreRefused(
            f"Nobody can be asked here: 'pushctl restore {what} --force' does it without asking."
        )
    if file is None:
        _adopt(data, force)
    else:
        _restore(file, data, force)


def _restore(file: Path, data: Path, force: bool) -> None:
    meter = Meter()

    def agree(plan: Plan) -> bool:
        meter.clear()
        _show(plan)
        return force or _ask("Go on?")

    try:
        restored = restore(file, data, agree, meter)
    finally:
        meter.clear()
    click.echo(f"restored to {data}: {_renewed(restored.renewed)}")
    if restored.aside is not None:
        click.echo(f"the replaced log is in {restored.aside}; remove it when all is well")


def _adopt(data: Path, force: bool) -> None:
    check_stopped(data)
    meter = Meter()
    report = verify(data, meter, quick=True)
    meter.clear()
    click.echo(f"log      {_summary(report)}", err=True)
    click.echo("Every client will get epoch_changed and load its channels anew.", err=True)
    if not (force or _ask("Give every channel a new epoch?")):
        raise RestoreRefused("The answer was no.")
    click.echo(f"adopted {data}: {_renewed(adopt(data))}")


def _show(plan: Plan) -> None:
    if plan.finished is not None:
        say_warning(f"an earlier restore was interrupted; it is completed now ({plan.finished})")
    _say(f"backup   {_summary(plan.backup)}")
    replaced = plan.replaced
    if replaced is None:
        _say(f"replaces nothing: {plan.directory} holds no log yet")
        return
    if replaced.trouble is None:
        newest = shown_time(replaced.newest_at)
        _say(f"replaces {plan.directory}: {replaced.channels} channels, newest message of {newest}")
    else:
        _say(f"replaces {plan.directory}, which cannot be read whole: {replaced.trouble}")
    if replaced.newest_at > plan.backup.newest_at:
        _say("What was published after the backup will not be there any more.")
    if replaced.epoch is None and replaced.trouble is not None:
        say_warning("its epochs cannot be read: the new ones follow the clock, which must be right")
    if replaced.trouble is not None and not replaced.revocations:
        say_warning("its revocations cannot be read: those made after the backup are lost")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _summary(report: Report) -> str:
    made = f", made {shown_time(report.made_at)} on {report.made_on}" if report.made_at else ""
    newest = shown_time(report.newest_at)
    return (
        f"{report.path}: {report.channels} channels, {report.messages} messages, newest message of"
        f" {newest}{made}"
    )


def _renewed(renewed: Renewed) -> str:
    if renewed.first is None:
        return "no channels"
    return f"{renewed.channels} channels with new epochs, {renewed.first} to {renewed.last}"


def _can_ask() -> bool:
    return sys.stdin.isatty()


def _ask(question: str) -> bool:
    """Ctrl-C and the end of the input are a no."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort:
        click.echo(err=True)
        return False
