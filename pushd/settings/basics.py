"""Settings that say where pushd is and who may use it."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pushd.settings.addresses import Address, Listen, OptionalListen, Origins
from pushd.settings.declare import setting
from pushd.settings.jwt_tables import JWT_KEYS, JwtTable
from pushd.settings.kinds import Choice, Directory, Duration, Flag, Matching, Secret
from pushd.settings.namespaces import NAMESPACES, Namespace
from pushd.settings.tables import API_KEYS, MIN_JWT_SECRET, ApiKeyTable

_PREFIX = r"(/[A-Za-z0-9._~-]+)*"


def host_node_id() -> str:
    """The host's name, made fit for a node id."""
    return re.sub(r"[^!-~]", "-", socket.gethostname())[:64] or "node"


@dataclass(frozen=True, kw_only=True)
class Basics:
    """Where it listens and keeps its data"""

    listen: Address = setting(
        Address("127.0.0.1", 8080),
        Listen(),
        "Address to listen on, HOST:PORT; port 0 lets the system choose one.",
        common=True,
    )
    admin_listen: Address | None = setting(
        None,
        OptionalListen(),
        "Address of a second listener, which serves everything; then 'listen' serves only what "
        "clients and publishers need: no lists, no metrics, no pages.",
    )
    data: Path = setting(
        Path("data"),
        Directory(),
        "Directory of the log and of all else that pushd keeps. One pushd per directory.",
        common=True,
        default_text="./data",
    )
    path_prefix: str = setting(
        "",
        Matching(_PREFIX, "a path like /push, without a slash at its end", "/push"),
        "Put before all /v1 paths, for proxies that pass a part of a site on.",
        default_text="none",
    )
    node_id: str = setting(
        host_node_id,
        Matching(r"[!-~]{1,64}", "1 to 64 visible ASCII characters", "node-1"),
        "Name of this node, unlike that of every other node.",
        common=True,
        default_text="the host's name",
    )
    dev: bool = setting(
        default=False,
        kind=Flag(),
        help_="Development: makes missing keys up, prints what to try. Loopback addresses only.",
        common=True,
    )
    log_format: str = setting(
        "auto",
        Choice("auto", "json", "console"),
        "auto writes for people on a terminal and JSON lines elsewhere.",
    )
    log_level: str = setting(
        "info",
        Choice("debug", "info", "warning", "error"),
        "The least important events to log: debug, info, warning or error.",
        common=True,
    )


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may use it"""

    api_key: str | None = setting(
        None,
        Secret(least=16),
        "One key for services, with every scope. More keys, with fewer rights, as [[keys]].",
    )
    jwt_secret: str | None = setting(
        None,
        Secret(least=MIN_JWT_SECRET),
        "HS256 secret that your application signs client tokens with. Other keys as [[jwt]].",
    )
    keys: tuple[ApiKeyTable, ...] = setting(
        (), API_KEYS, "Keys of services: name, sha256, scopes, patterns."
    )
    jwt: tuple[JwtTable, ...] = setting(
        (), JWT_KEYS, "Keys of client tokens: alg and secret or public_key_file, or a JWKS."
    )
    jwks_refresh: float = setting(
        300.0, Duration(1, 86_400), "How often the key sets of [[jwt]] are fetched or read anew."
    )
    namespaces: Mapping[str, Namespace] = setting(
        dict,
        NAMESPACES,
        "Rules of the channels named NAME or NAME:…: who may read and publish, what is kept.",
    )
    origins: tuple[str, ...] = setting(
        (),
        Origins(),
        "Web origins whose pages may connect, exactly as browsers send them.",
        common=True,
    )
