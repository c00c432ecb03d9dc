"""What the commands share that work on a data directory instead of a server."""

from __future__ import annotations

import functools
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from pushd.log.tools.files import shown_size
from pushd.settings import load

# Rights are looked at where it can be said whose they are.
FILE: Final = click.Path(path_type=Path, readable=False)
_EVERY_S: Final = 5.0
_WIDTH: Final = 70


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --data and --config; the command gets the directory as ``data``."""

    @click.option("--data", type=FILE, help="Data directory. [PUSHD_DATA, pushd.toml, else ./data]")
    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file that names it. [PUSHD_CONFIG, else ./pushd.toml]",
    )
    @functools.wraps(command)
    def wrapper(data: Path | None, config_file: Path | None, **rest: Any) -> None:
        # With --data no settings are read: what is wrong with them must not stand in the way.
        directory = data if data is not None else load(config_file).settings.data
        # SIGTERM as Ctrl-C: what is half done is removed.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            command(data=directory, **rest)
        except KeyboardInterrupt:
            click.echo("stopped before it was done", err=True)
            sys.exit(128 + signal.SIGINT)
        finally:
            signal.signal(signal.SIGTERM, before)

    return wrapper


def shown_time(at_ms: int) -> str:
    """UTC, or that there is none."""
    if not at_ms:
        return "never"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class Meter:
    """How far it is: on a terminal one line that changes, elsewhere a line every few seconds.

    On standard error; call it with what is done, how far, of how much (0: nobody knows).
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._next = time.monotonic() + (0.1 if self._live else _EVERY_S)
        self._shown = False

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.1 if self._live else _EVERY_S)
        text = f"{what}: {_shown(what, done, total)}"
        if self._live:
            click.echo(f"\r{text:<{_WIDTH}}", err=True, nl=False)
            self._shown = True
        else:
            click.echo(text, err=True)

    def clear(self) -> None:
        """Before anything else is printed."""
        if self._shown:
            click.echo(f"\r{'':<{_WIDTH}}\r", err=True, nl=False)
            self._shown = False


def _shown(what: str, done: int, total: int) -> str:
    if not total:
        return str(done)
    in_bytes = what in ("copied", "hashed", "imported")
    of = f"{shown_size(done)} of {shown_size(total)}" if in_bytes else f"{done} of {total}"
    return f"{of} ({100 * done // total} %)"
