"""``pushctl token``: a client token, signed with the server's HS256 secret."""

from __future__ import annotations

from pathlib import Path

import click

from pushd.cli.checked import Checked
from pushd.cli.dev import KEYS_FILE, read_dev_keys
from pushd.core.names import check_device, check_user
from pushd.core.permissions import check_pattern
from pushd.errors import BadSetting
from pushd.settings import Settings, load
from pushd.settings.kinds import Duration

_TTL = Duration(1, 10 * 365 * 86_400)


@click.command("token")
@click.option("--user", required=True, type=Checked("text", check_user), help="User id (sub).")
@click.option("--device", type=Checked("text", check_device), help="Pins the token to a device.")
@click.option(
    "--subscribe",
    multiple=True,
    type=Checked("pattern", check_pattern),
    help="Topics it may read: a channel, or a prefix ending in *. Repeatable.",
)
@click.option(
    "--publish",
    multiple=True,
    type=Checked("pattern", check_pattern),
    help="Channels it may publish to, in the same form. Repeatable.",
)
@click.option(
    "--ttl",
    default="1h",
    show_default=True,
    type=Checked("duration", _TTL.parse),
    help="Lifetime.",
)
@click.option("--data", metavar="DIR", help=f"Where serve --dev keeps {KEYS_FILE}. [./data]")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file. [PUSHD_CONFIG, else ./pushd.toml if there is one]",
)
def command(
    user: str,
    device: str | None,
    subscribe: tuple[str, ...],
    publish: tuple[str, ...],
    ttl: float,
    data: str | None,
    config_file: Path | None,
) -> None:
    """Print a client token, for trying things out; applications sign their own.

    It is signed with PUSHD_JWT_SECRET (jwt_secret in pushd.toml), or with the secret that
    'pushctl serve --dev' made up. Quote patterns that contain a *.

    \b
    Examples:
      pushctl token --user alice --subscribe news --subscribe 'rooms:*'
      PUSHD_TOKEN=$(pushctl token --user bob --publish chat --ttl 10m) pushctl tail chat
    """
    from pushd.auth import mint_token

    settings = load(config_file, options={} if data is None else {"data": data}).settings
    secret = signing_secret(settings)
    click.echo(
        mint_token(
            secret, user, device=device, subscribe=subscribe, publish=publish, ttl_s=round(ttl)
        )
    )


def signing_secret(settings: Settings) -> str:
    """The same one that the server checks with. Raises BadSetting when there is none."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret
    keys = read_dev_keys(settings.data)
    if keys is not None:
        return keys.jwt_secret
    for table in settings.jwt:
        if table.alg == "HS256" and table.kid is None and table.aud is None and table.iss is None:
            return table.material
    raise BadSetting(
        "no secret to sign with: set PUSHD_JWT_SECRET as for the server, or start"
        f" 'pushctl serve --dev' here once (there is no {settings.data / KEYS_FILE})"
    )
