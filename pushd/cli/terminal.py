"""What commands print for people: errors with their cure, colours only where wanted."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import click


def wants_colour(stream: TextIO) -> bool:
    """No colours off a terminal, and none when NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def styled(text: str, stream: TextIO, **style: Any) -> str:
    """``style``: as click's. Plain where no colours are wanted."""
    return click.style(text, **style) if wants_colour(stream) else text


def say_error(detail: str, cure: str) -> None:
    """ "error: what is wrong", then what to do about it, on standard error."""
    click.echo(f"{styled('error:', sys.stderr, fg='red', bold=True)} {detail}", err=True)
    click.echo(cure, err=True)


def say_warning(text: str) -> None:
    """On standard error."""
    click.echo(f"{styled('warning:', sys.stderr, fg='yellow', bold=True)} {text}", err=True)
