"""Which server, and as whom: the options that all client commands share.

An option beats a variable, a variable beats the file that ``serve --dev`` leaves. What that file
holds is used for its own server only: a key must not travel to another one.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import click
import msgspec
import trio

from pushd.cli.dev import CLIENT_FILE, DevClient
from pushd.client import Unreachable
from pushd.client.groups import one_exception
from pushd.client.http import check_url
from pushd.errors import BadSetting, PushdError
from pushd.settings.addresses import is_loopback

DEFAULT_URL: Final = "http://127.0.0.1:8080"

Kind = Literal["key", "token"]


@dataclass(frozen=True, slots=True, repr=False)
class Connection:
    """A server and a credential; no repr, so that no traceback shows the credential."""

    url: str
    credential: str
    verbose: bool

    def explain(self, text: str) -> None:
        """Tell on standard error, with -v only."""
        if self.verbose:
            click.echo(text, err=True)


class _Found(NamedTuple):
    value: str
    source: str


def connection_options(prefer: Kind) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds --url, --key, --token and -v; the command gets them as ``connection``.

    ``prefer``: what is used of the variables and the file when both a key and a token are there.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--url", help=f"The server. [PUSHD_URL, serve --dev's, else {DEFAULT_URL}]")
        @click.option("--key", help="API key of a service. [PUSHD_API_KEY, else serve --dev's]")
        @click.option("--token", help="Token of a client. [PUSHD_TOKEN, else serve --dev's]")
        @click.option("-v", "--verbose", is_flag=True, help="Tell where these came from, and more.")
        @functools.wraps(command)
        def wrapper(
            url: str | None, key: str | None, token: str | None, verbose: bool, **rest: Any
        ) -> None:
            if key is not None and token is not None:
                raise click.UsageError("Give --key or --token, not both.")
            given: dict[Kind, str | None] = {"key": key, "token": token}
            command(connection=find_connection(url, given, prefer, verbose), **rest)

        return wrapper

    return decorate


def find_connection(
    url: str | None, given: dict[Kind, str | None], prefer: Kind, verbose: bool
) -> Connection:
    """Raises BadSetting that says what to give when there is no credential."""
    dev, path = _dev_client()
    server = _find_url(url, dev, path)
    base = check_url(server.value)
    other: Kind = "token" if prefer == "key" else "key"
    kinds: tuple[Kind, ...] = (prefer, other)
    if prefer == "key":
        # Publishing as some user by accident would be worse than an error.
        kinds = (prefer,)
    options = [_Found(text, f"--{kind}") for kind, text in given.items() if text is not None]
    usable = dev if dev is not None and check_url(dev.url) == base else None
    for kind in kinds:
        options += _defaults(kind, usable, path)
    if not options:
        names = "--key or PUSHD_API_KEY" if prefer == "key" else "--token or PUSHD_TOKEN"
        raise BadSetting(f"no credential for {base}: give {names}, or run 'pushctl serve --dev'")
    connection = Connection(base, options[0].value, verbose)
    connection.explain(f"{base} (from {server.source}), credential from {options[0].source}")
    return connection


def _find_url(url: str | None, dev: DevClient | None, path: Path) -> _Found:
    if url is not None:
        return _Found(url, "--url")
    if variable := os.environ.get("PUSHD_URL"):
        return _Found(variable, "PUSHD_URL")
    return _Found(dev.url, str(path)) if dev is not None else _Found(DEFAULT_URL, "the default")


def _defaults(kind: Kind, dev: DevClient | None, path: Path) -> list[_Found]:
    variable = "PUSHD_API_KEY" if kind == "key" else "PUSHD_TOKEN"
    found = []
    if value := os.environ.get(variable):
        found.append(_Found(value, variable))
    if dev is not None:
        found.append(_Found(dev.key if kind == "key" else dev.token, f"{kind} in {path}"))
    return found


def _dev_client() -> tuple[DevClient | None, Path]:
    """What ``serve --dev`` has left here. Never what came with a directory of somebody else: it
    would say where credentials of the environment go to."""
    path = Path(os.environ.get("PUSHD_DATA") or "data") / CLIENT_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=DevClient)
        owner = path.stat().st_uid
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None, path
    except (OSError, msgspec.MsgspecError):
        raise BadSetting(f"{path} is damaged: delete it and start 'pushctl serve --dev'") from None
    ours = owner in (os.geteuid(), 0) and _is_local(found.url)
    return found if ours else None, path


def _is_local(url: str) -> bool:
    """Development servers listen nowhere else."""
    return is_loopback(urlsplit(check_url(url)).hostname or "")


def run(main: Callable[[], Awaitable[None]], *, interrupted: int | None = None) -> None:
    """Run under Trio; raises PushdError by itself. Ctrl-C and SIGTERM end it without traceback.

    ``interrupted``: the exit code then, by default 128 + signal.
    """
    ended_by: list[int] = []

    async def watched() -> None:
        with one_exception():
            async with trio.open_nursery() as nursery:
                await nursery.start(_watch_signals, nursery.cancel_scope, ended_by)
                await main()
                nursery.cancel_scope.cancel()

    trio.run(watched)
    if ended_by:
        sys.exit(128 + ended_by[0] if interrupted is None else interrupted)


async def _watch_signals(
    scope: trio.CancelScope,
    ended_by: list[int],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            ended_by.append(number)
            scope.cancel()
            return


def say_retry(error: PushdError, give_up_s: float) -> None:
    """Why it takes longer, and what to do about it."""
    click.echo(f"{error.detail} Trying again for up to {give_up_s:g} s.", err=True)
    if isinstance(error, Unreachable):
        click.echo(error.cure, err=True)
