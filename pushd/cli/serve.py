"""``pushctl serve``: the server, with every setting as an option."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pushd import __version__
from pushd.cli.demo import PUBLISH, SUBSCRIBE, links, with_demo
from pushd.cli.dev import (
    CLIENT_FILE,
    TOKEN_TTL_S,
    DevClient,
    welcome,
    with_dev_keys,
    write_private,
)
from pushd.errors import BadSetting, CannotStart, PushdError
from pushd.settings import Settings, load
from pushd.settings.declare import Declared, declared
from pushd.settings.kinds import Flag
from pushd.settings.model import GROUPS, all_declared

if TYPE_CHECKING:
    from pushd.worker import Worker

_LISTEN_ERRORS = {
    errno.EADDRINUSE: "is in use by another program",
    errno.EACCES: "needs rights that this user does not have",
    errno.EADDRNOTAVAIL: "is no address of this machine",
}


# What development mode makes up, and all nodes of one start need.
_MADE_UP = ("api_key", "jwt_secret", "webhook_secret", "cluster_key")


class _ServeCommand(click.Command):
    """--help shows what is commonly set, --help-all every setting by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        if not ctx.meta.get("all settings"):
            return
        for group in GROUPS:
            rows = [row for item in declared(group) if (row := _help_row(item))]
            with formatter.section(str(group.__doc__)):
                formatter.write_dl(rows)


def _help_row(item: Declared) -> tuple[str, str] | None:
    if item.option is None:
        return None
    option = item.option if isinstance(item.kind, Flag) else f"{item.option} {item.kind.metavar}"
    return option, f"{item.help} [{item.default_text}]"


def _option(item: Declared) -> click.Option:
    """Texts are passed on as they are: the kind reads them, the same way as in the environment."""
    assert item.option is not None
    if isinstance(item.kind, Flag):
        name = f"{item.option}/--no-{item.option[2:]}"
        return click.Option([name, item.name], default=None, help=item.help, hidden=not item.common)
    text = f"{item.help} [{item.default_text}]"
    metavar = item.kind.metavar
    return click.Option(
        [item.option, item.name], metavar=metavar, help=text, hidden=not item.common
    )


def _show_all(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["all settings"] = True
        click.echo(ctx.get_help())
        ctx.exit()


def _options() -> Iterator[click.Option]:
    yield click.Option(
        ["--config", "config_file"],
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings file. [PUSHD_CONFIG, else ./pushd.toml if there is one]",
    )
    yield from (_option(item) for item in all_declared() if item.option)
    yield click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_all,
        help="Show all settings that can be given as options.",
    )


def _serve(config_file: Path | None, **options: Any) -> None:
    """Run the server.

    Settings come from pushd.toml, then PUSHD_... variables, then options. Keys are no options (any
    user of a machine can read command lines): set PUSHD_API_KEY for services and PUSHD_JWT_SECRET
    for client tokens, or let --dev make them up.

    \b
    Examples:
      pushctl serve --dev
      pushctl serve --listen 0.0.0.0:8080 --data /var/lib/pushd
      PUSHD_API_KEY=... PUSHD_JWT_SECRET=... pushctl serve --max-body 128KiB
      pushctl serve --dev --redis redis://127.0.0.1 --workers 3
    """
    texts = {name: _text(value) for name, value in options.items() if value is not None}
    current = partial(_settings, config_file, texts)
    settings = current()
    if settings.workers:
        run_workers(settings, partial(_ready, settings), config_file, texts)
        return
    worker = _worker()
    if worker is None:
        run(settings, partial(_ready, settings), current)
    else:
        run(settings, worker.say_ready, current, worker)


def _worker() -> Worker | None:
    from pushd.worker import Worker

    return Worker.from_environment()


def _settings(config_file: Path | None, texts: Mapping[str, str]) -> Settings:
    """Also asked when SIGHUP has them read again. Raises BadSetting."""
    settings = load(config_file, options=texts).settings
    if settings.dev:
        return with_demo(with_dev_keys(settings))
    if not settings.has_key:
        raise BadSetting(
            "no key is set, so nobody could publish or connect. Set PUSHD_API_KEY (services) and"
            " PUSHD_JWT_SECRET (client tokens), or try pushd with: pushctl serve --dev"
        )
    return settings


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def run(
    settings: Settings,
    ready: Callable[[str], None],
    load: Callable[[], Settings],
    worker: Worker | None = None,
) -> None:
    """Until the server ends. Raises PushdError, CannotStart when it cannot listen."""
    # imported here: 'serve --help' and wrong settings need no server
    from pushd.server import serve

    _run(settings, partial(serve, settings, ready=ready, load=load, worker=worker))


def run_workers(
    settings: Settings,
    ready: Callable[[str], None],
    config_file: Path | None,
    texts: Mapping[str, str],
) -> None:
    """The parent of several nodes, until it is stopped. Raises as ``run``."""
    from pushd.workers import Workers, environment_of

    secrets = {name: getattr(settings, name) for name in _MADE_UP} if settings.dev else {}
    workers = Workers(settings, environment_of(texts, secrets), config_file)
    try:
        _run(settings, partial(workers.run, ready))
    except* PushdError as errors:
        raise errors.exceptions[0] from None


def _run(settings: Settings, main: Callable[[], Awaitable[None]]) -> None:
    import trio

    from pushd.logs import configure

    configure(settings.log_format, settings.log_level)
    try:
        trio.run(main)
    except (OSError, ExceptionGroup) as error:
        problem = _listen_problem(error)
        if problem is None:
            raise
        place = _place(error) or settings.listen
        raise CannotStart(
            f"{place} {problem}. Listen elsewhere: pushctl serve --listen HOST:PORT"
            " (PUSHD_LISTEN, or listen in pushd.toml; admin_listen the same way); port 0 lets the"
            " system choose one."
        ) from None


def _listen_problem(error: BaseException) -> str | None:
    if isinstance(error, ExceptionGroup):
        found = [_listen_problem(inner) for inner in error.exceptions]
        return found[0] if all(found) else None
    return _LISTEN_ERRORS.get(error.errno or 0) if isinstance(error, OSError) else None


def _place(error: BaseException) -> str | None:
    return error.filename if isinstance(error, OSError) else None


def _ready(settings: Settings, address: str) -> None:
    base = address if "://" in address else f"http://{address}"
    where = f"(node {settings.node_id}, data {settings.data})"
    if settings.workers:
        where = f"({settings.workers + 1} nodes, data {settings.data})"
    click.echo(f"pushd {__version__} ready on {base} {where}")
    if settings.dev:
        client = _dev_client(settings, base)
        write_private(settings.data / CLIENT_FILE, client)
        click.echo(welcome(settings, client, _demo_links(settings, base)))


def _dev_client(settings: Settings, base: str) -> DevClient:
    from pushd.auth import mint_token

    assert settings.jwt_secret is not None
    assert settings.api_key is not None
    token = mint_token(
        settings.jwt_secret,
        "alice",
        device="dev-alice",
        subscribe=["*"],
        publish=["*"],
        ttl_s=TOKEN_TTL_S,
    )
    return DevClient(base + settings.path_prefix, token, settings.api_key)


def _demo_links(settings: Settings, base: str) -> list[tuple[str, str, str]]:
    from pushd.auth import mint_token

    secret = settings.jwt_secret
    assert secret is not None

    def token_of(user: str) -> str:
        attributes = {"name": user.capitalize()}
        return mint_token(
            secret,
            user,
            subscribe=SUBSCRIBE,
            publish=PUBLISH,
            ttl_s=TOKEN_TTL_S,
            attributes=attributes,
        )

    return links(base, token_of, settings.path_prefix)


command = _ServeCommand("serve", params=list(_options()), callback=_serve, help=_serve.__doc__)
