"""``pushctl export``: the messages as lines of JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from pushd.cli.datadir import FILE, Meter, data_options
from pushd.errors import BackupFailed
from pushd.log.tools.export import export
from pushd.log.tools.files import why_not


@click.command("export")
@click.argument(
    "file", type=click.Path(path_type=Path, dir_okay=False, readable=False, allow_dash=True)
)
@click.option("--from", "source", type=FILE, help="A backup, instead of the data directory.")
@click.option(
    "--channel",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only these: a name, or a prefix that ends in *. May be repeated.",
)
@click.option("--force", is_flag=True, help="Replace FILE.")
@data_options
def command(
    file: Path, source: Path | None, patterns: tuple[str, ...], force: bool, data: Path
) -> None:
    """Write every retained message to FILE (- for standard output), one JSON object a line.

    {"channel","epoch","seq","at","id","type","sender"?,"data"}, in the order in which they were
    stored, all of one moment. From a large log that is served, export from a backup of it.

    \b
    Examples:
      pushctl export news.ndjson --channel news --channel 'news.*'
      pushctl export - --from /backup/pushd.db | gzip > messages.gz
    """
    meter = Meter()
    lines = export(
        data if source is None else source, lambda name: _is_wanted(name, patterns), meter
    )
    try:
        count = _write(file, lines, force)
    finally:
        meter.clear()
    click.echo(f"{count} messages exported", err=True)


def _is_wanted(name: str, patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return True
    return any(
        name.startswith(each[:-1]) if each.endswith("*") else name == each for each in patterns
    )


def _write(file: Path, lines: Iterable[bytes], force: bool) -> int:
    count = 0
    try:
        with _opened(file, force) as out:
            for count, line in enumerate(lines, 1):  # noqa: B007
                out.write(line)
            out.flush()
    except BrokenPipeError:
        # Whoever read it has enough. Nothing more can be said on it, at the exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        raise BackupFailed(f"{file} cannot be written: {why_not(error, file.parent)}.") from error
    return count


@contextmanager
def _opened(file: Path, force: bool) -> Iterator[BinaryIO]:
    """The file appears when it is complete; only its owner can read it."""
    if str(file) == "-":
        yield sys.stdout.buffer
        return
    if file.exists() and not force:
        raise BackupFailed(f"{file} exists: choose another name, or replace it with --force.")
    partial = file.with_name(file.name + ".partial")
    # Never a file or a link that somebody else has put there.
    partial.unlink(missing_ok=True)
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
