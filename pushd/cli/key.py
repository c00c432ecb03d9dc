"""``pushctl key``: makes up a key for a service."""

from __future__ import annotations

import hashlib
import json
import secrets

import click

from pushd.cli.checked import Checked
from pushd.core.permissions import SCOPES, check_pattern

PREFIX = "pushd_"  # so that whoever finds one knows what it opens, scanners of repositories too


def _check_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value or not value.isprintable():
        raise click.BadParameter("must be visible text", ctx, param)
    return value


@click.command("key")
@click.option("--name", required=True, callback=_check_name, help="What the key is called.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(sorted(SCOPES)),
    help="What it may do. Repeatable.",
)
@click.option(
    "--pattern",
    "patterns",
    multiple=True,
    type=Checked("text", check_pattern),
    help="Channels it is limited to: a name, or a prefix ending in *. Repeatable. [all channels]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, the key included.")
def command(name: str, scopes: tuple[str, ...], patterns: tuple[str, ...], as_json: bool) -> None:
    """Make up a key for a service, and print its [[keys]] table for pushd.toml.

    The table holds the key's hash alone, and goes to standard output; the key itself goes to
    standard error, once, and is kept nowhere. After 'kill -HUP' the server knows the new table.

    \b
    Examples:
      pushctl key --name shop --scope publish --pattern 'user:*' >> pushd.toml
      pushctl key --name backup --scope read --json
    """
    key = PREFIX + secrets.token_urlsafe(32)
    table: dict[str, object] = {
        "name": name,
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "scopes": list(dict.fromkeys(scopes)),
    }
    if patterns:
        table["patterns"] = list(dict.fromkeys(patterns))
    if as_json:
        click.echo(json.dumps({"key": key, **table}, ensure_ascii=False))
        return
    lines = [
        f"{member} = {json.dumps(value, ensure_ascii=False)}" for member, value in table.items()
    ]
    click.echo("\n".join(["", "[[keys]]", *lines]))
    click.echo(f"The key, shown this once:\n{key}", err=True)
