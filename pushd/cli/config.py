"""``pushctl config``: check, show and document the settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pushd.cli.terminal import say_warning, styled
from pushd.settings import Loaded, Settings, load
from pushd.settings.docs import settings_markdown
from pushd.settings.model import all_declared

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("config")
def command() -> None:
    """Check, show and document the settings."""


@command.command()
@click.argument("file", type=_FILE, required=False)
def check(file: Path | None) -> None:
    """Report everything that is wrong with the settings, at once.

    FILE is read instead of pushd.toml; PUSHD_... variables count as they do for serve. Key files
    are read, nothing is fetched.

    \b
    Example:
      pushctl config check /etc/pushd/pushd.toml
    """
    loaded = load(file)
    if not loaded.settings.has_key and not loaded.settings.dev:
        say_warning("no key is set: 'pushctl serve' starts with --dev only (see 'config docs')")
    for weakness in _weaknesses(loaded.settings):
        say_warning(weakness)
    where = str(loaded.file) if loaded.file else "no pushd.toml here; variables and defaults"
    click.echo(f"{styled('ok', sys.stdout, fg='green')}: {where}")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, values in their unit.")
@click.option("--config", "file", type=_FILE, help="Read this file instead of pushd.toml.")
def show(as_json: bool, file: Path | None) -> None:
    """Print every setting, its value and where that came from. Secrets are not printed."""
    loaded = load(file)
    if as_json:
        click.echo(json.dumps(_as_json(loaded), indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _print_table(_rows(loaded))
    else:
        for row in _rows(loaded):
            click.echo("\t".join(row))


@command.command()
def docs() -> None:
    """Print docs/settings.md: all settings with defaults, ranges and meanings."""
    click.echo(settings_markdown(), nl=False)


def _weaknesses(settings: Settings) -> list[str]:
    """Makes the keys as serve does. Raises BadSetting."""
    # imported here: the other commands do not need a third of the server
    from pushd.build import make_authenticator, make_hook, make_sources
    from pushd.calls import webhook_weakness
    from pushd.logs import configure
    from pushd.metrics import Counters
    from pushd.revocations import Standing

    configure("console", "warning")
    standing = Standing()
    hook = make_hook(settings, standing, Counters())
    found = make_authenticator(settings, standing, make_sources(settings), hook).weaknesses
    return [*found, *filter(None, [webhook_weakness(settings)])]


def _rows(loaded: Loaded) -> list[tuple[str, str, str]]:
    return [
        (
            item.name,
            item.kind.show(getattr(loaded.settings, item.name)) or "none",
            loaded.sources[item.name],
        )
        for item in all_declared()
    ]


def _as_json(loaded: Loaded) -> dict[str, dict[str, object]]:
    return {
        item.name: {
            "value": item.kind.plain(getattr(loaded.settings, item.name)),
            "unit": item.kind.unit or None,
            "source": loaded.sources[item.name],
        }
        for item in all_declared()
    }


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    # imported here: only a terminal needs it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("setting", "value", "from", box=None, header_style="bold")
    for name, value, source in rows:
        changed = "" if source == "default" else "bold"
        table.add_row(Text(name), Text(value, style=changed), Text(source, style="dim"))
    Console().print(table)
