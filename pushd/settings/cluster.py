"""Settings of several nodes: where Redis is, who this node is to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pushd.settings.addresses import Address, OptionalListen, is_loopback
from pushd.settings.application import OptionalUrl
from pushd.settings.declare import setting
from pushd.settings.kinds import Count, Duration, Flag, Kind, Matching, Secret

if TYPE_CHECKING:
    from pushd.settings.model import Settings

_SCHEMES: Final = ("redis", "rediss", "unix", "sentinel")


class OptionalRedis(Kind[str | None]):
    """Where Redis is, or none. Shown without its password and query."""

    form, metavar = "redis://127.0.0.1:6379/0", "URL"

    def parse(self, text: str) -> str | None:
        text = text.strip()
        if text.lower() in ("", "none"):
            return None
        try:
            parts = urlsplit(text)
        except ValueError:
            raise ValueError("is no address") from None
        if parts.scheme not in _SCHEMES:
            raise ValueError(
                "must begin with redis://HOST, rediss://HOST (TLS), unix://PATH or "
                "sentinel://HOST:PORT,HOST:PORT/SERVICE"
            )
        if parts.scheme == "unix":
            if not parts.path:
                raise ValueError("needs the path of the socket: unix:///run/redis.sock")
        elif not parts.netloc.rpartition("@")[2]:
            raise ValueError("names no host")
        if parts.scheme == "sentinel" and not parts.path.strip("/"):
            raise ValueError("needs the name of the service: sentinel://HOST:PORT/SERVICE")
        return text

    def show(self, value: str | None) -> str:
        return "none" if value is None else without_secrets(value)

    def plain(self, value: str | None) -> object:
        return None if value is None else self.show(value)


def without_secrets(url: str) -> str:
    """A Redis address that may be shown: without password and query, however they are written."""
    scheme, separator, rest = url.partition("://")
    place, _, query = rest.partition("?")
    if "@" in query:  # or it is the password that has the question mark
        return f"{scheme}{separator}***"
    login, at, host = place.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}{colon and ':***'}{at}{host}"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Several nodes"""

    redis: str | None = setting(
        None,
        OptionalRedis(),
        "Redis that joins several nodes; without it this node is alone.",
        common=True,
    )
    cluster_key: str | None = setting(
        None,
        Secret(least=16),
        "Secret that all nodes of a cluster share. It signs what they say to each other.",
    )
    cluster_name: str = setting(
        "pushd",
        Matching(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, '_', '.', '-'", "pushd"),
        "Name of the cluster: what all its names in Redis begin with.",
    )
    edge: bool = setting(
        default=False,
        kind=Flag(),
        help_="Never own the log: hold connections, and follow the owner that Redis names.",
        common=True,
    )
    workers: int = setting(
        0,
        Count(0, 256),
        "Further nodes of this host on the same address, each a process that uses a core.",
        common=True,
    )
    advertise: str | None = setting(
        None,
        OptionalUrl(),
        "Address at which the other nodes reach this one, when it owns the log.",
        default_text="made of cluster_listen, or listen",
    )
    cluster_listen: Address | None = setting(
        None,
        OptionalListen(),
        "Address of a listener for other nodes. With workers, which share 'listen', a port of "
        "the loopback if nothing is said.",
    )
    cluster_sync: float = setting(
        1.0,
        Duration(0.05, 60),
        "How often an edge asks the owner for what has changed, hints or not.",
    )


def own_address(settings: Settings) -> Address:
    """Where the owner is reached by the other nodes, as far as the settings say (port 0: not)."""
    if settings.cluster_listen is not None:
        return settings.cluster_listen
    return Address("127.0.0.1", 0) if settings.workers else settings.listen


def cluster_contradictions(settings: Settings) -> list[tuple[str, str, str]]:
    """(name, other name, problem), as in ``model.contradictions``."""
    if settings.redis is None:
        joins = [name for name in ("edge", "workers", "advertise") if getattr(settings, name)]
        return [(name, "redis", "needs redis, through which the nodes meet") for name in joins]
    found = []
    if settings.cluster_key is None and not settings.dev:
        found.append(("redis", "cluster_key", "needs cluster_key, which all nodes share"))
    if settings.edge:
        return found
    if settings.advertise is not None:
        if settings.workers and settings.cluster_listen is None:
            problem = "needs cluster_listen: with workers, 'listen' leads to any of the nodes"
            found.append(("advertise", "cluster_listen", problem))
        host = urlsplit(settings.advertise).hostname or ""
        if _is_lonely(host) and not _is_here(settings.redis):
            found.append(("advertise", "redis", f"{host} {_UNREACHABLE}"))
    else:
        address = own_address(settings)
        if address.host in ("0.0.0.0", "::"):
            problem = f"is needed: {address} does not say where others reach this node"
            found.append(("advertise", "listen", problem))
        elif address.is_loopback and not _is_here(settings.redis):
            found.append(("advertise", "redis", f"is needed: {address.host} {_UNREACHABLE}"))
    return found


_UNREACHABLE = "cannot be reached by nodes of other hosts, and Redis is on another one"


def _is_lonely(host: str) -> bool:
    return is_loopback(host) or host in ("0.0.0.0", "::")


def _is_here(redis: str) -> bool:
    """Whether Redis is on this host: then so may be all nodes."""
    parts = urlsplit(redis)
    if parts.scheme == "unix":
        return True
    hosts = [each.rpartition("@")[2] for each in parts.netloc.split(",")]
    names = [urlsplit(f"//{host}").hostname or "" for host in hosts]
    return all(is_loopback(name) for name in names)
