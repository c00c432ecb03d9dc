"""How far a long command is: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import click

from pushd.cli.connection import say_retry
from pushd.errors import PushdError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_EVERY_S: Final = 5.0


class Progress(Protocol):
    """On standard error, so that the result alone is on standard output."""

    def advance(self) -> None:
        """One more of the total."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def trouble(self, error: PushdError, give_up_s: float) -> None:
        """It does not go on for now; said once until it does."""


@contextmanager
def open_progress(total: int) -> Iterator[Progress]:
    """Until the end of the body. ``total``: how many ``advance`` are to come."""
    if not sys.stderr.isatty():
        yield _Lines(total)
        return
    # imported here: only a terminal needs it
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as NewBar

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    words = TextColumn("{task.description}")
    with NewBar(*columns, words, console=Console(stderr=True), transient=True) as bar:
        yield _OnTerminal(bar, bar.add_task("", total=total))


class _Lines:
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._next = time.monotonic() + _EVERY_S
        self._troubled = False

    def advance(self) -> None:
        self._done += 1
        self._troubled = False
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_S
            self.say(f"{self._done} of {self._total}")

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def trouble(self, error: PushdError, give_up_s: float) -> None:
        if not self._troubled:
            say_retry(error, give_up_s)
        self._troubled = True


class _OnTerminal:
    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._troubled = False

    def advance(self) -> None:
        if self._troubled:
            self._troubled = False
            self._bar.update(self._task, description="")
        self._bar.advance(self._task)

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)

    def trouble(self, error: PushdError, give_up_s: float) -> None:
        if not self._troubled:
            self.say(f"{error.detail} Trying again for up to {give_up_s:g} s.")
            self._bar.update(self._task, description="waiting for the server")
        self._troubled = True
