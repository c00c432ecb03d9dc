"""What the commands that end sessions have in common."""

from __future__ import annotations

from collections.abc import Callable

import click

MAX_REASON = 123


def bye_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --reason and --reconnect."""
    command = click.option(
        "--reconnect", is_flag=True, help="Tell clients that they may come again at once."
    )(command)
    return click.option(
        "--reason", help=f"What clients are told, up to {MAX_REASON} characters. [kicked]"
    )(command)


def say_kicked(count: int) -> None:
    click.echo("1 session ended" if count == 1 else f"{count} sessions ended")
