"""Where Redis is: an address becomes connections of redis-py, none of which tries anything twice.

Waiting and trying again belong to ``line``, so that the loss of a connection is always seen.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from redis.backoff import NoBackoff
from redis.connection import ConnectionInterface, ConnectionPool
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from pushd.cluster.bus.replies import BoundedParser
from pushd.errors import BadSetting
from pushd.settings.cluster import without_secrets

# What a query may say; anything else could change how replies are read.
ALLOWED: Final = re.compile(
    r"db|username|password|socket_timeout|socket_connect_timeout|sentinel_(username|password)|tls|"
    r"ssl_(ca_certs|ca_path|certfile|keyfile|password|check_hostname|cert_reqs|ciphers)"
)
_YES: Final = frozenset({"1", "true", "yes"})
_SENTINEL_PORT: Final = 26379
_OF_CONNECTIONS: Final = frozenset({"max_connections", "parser_class"})  # not of sentinels'


class RedisAddress:
    """``redis://``, ``rediss://`` (TLS), ``unix://`` as redis-py has them, and
    ``sentinel://HOST:PORT,HOST:PORT/SERVICE``, with ``?tls=yes`` for TLS.

    Raises BadSetting for one that says something else.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        """``timeout_s``: of each step on the wire, unless the address has its own."""
        self.shown = without_secrets(url)
        self.timeout_s = timeout_s
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        for name in query:
            if not ALLOWED.fullmatch(name):
                raise BadSetting(f"redis: {self.shown} says {name!r}, which is not understood.")
        try:
            if parts.scheme == "sentinel":
                self._pool = self._sentinel(parts.netloc, parts.path, query)
            else:
                options = self._common()
                if parts.scheme == "unix":
                    del options["socket_keepalive"]
                self._pool = ConnectionPool.from_url(url, **options)
            self.connection()  # which looks at the rest of what the address says
            self.timeout_s = float(self._pool.connection_kwargs["socket_timeout"])
        except (ValueError, TypeError, KeyError, RedisError) as error:
            raise BadSetting(f"redis: {self.shown} is of no use: {_why(error)}") from None

    def connection(self) -> ConnectionInterface:
        """A new one, not connected yet. Its caller disconnects it."""
        return self._pool.make_connection()

    def _common(self) -> dict[str, Any]:
        return {
            "socket_timeout": self.timeout_s,
            "socket_connect_timeout": self.timeout_s,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,  # messages come as plain lists
            "parser_class": BoundedParser,
            "max_connections": 1 << 20,  # each is asked for once and closed by who asked
        }

    def _sentinel(self, netloc: str, path: str, query: dict[str, str]) -> ConnectionPool:
        login, _, hosts = netloc.rpartition("@")
        user, _, password = login.partition(":")
        service, _, db = path.strip("/").partition("/")
        if not service:
            raise ValueError("it names no service")
        places = []
        for each in hosts.split(","):
            place = urlsplit(f"//{each}")
            places.append((place.hostname or "", place.port or _SENTINEL_PORT))
        options = self._common()
        guards = {name: options[name] for name in options if name not in _OF_CONNECTIONS}
        for name in ("username", "password"):
            if f"sentinel_{name}" in query:
                guards[name] = query.pop(f"sentinel_{name}")
        tls = query.pop("tls", "").lower() in _YES
        for name in ("socket_timeout", "socket_connect_timeout"):
            if name in query:
                guards[name] = options[name] = float(query.pop(name))
        if "ssl_check_hostname" in query:
            options["ssl_check_hostname"] = query.pop("ssl_check_hostname").lower() in _YES
        options.update({key: value for key, value in query.items() if key != "db"})
        if tls:
            guards.update(ssl=True)
            guards.update({key: value for key, value in options.items() if key.startswith("ssl_")})
            options["ssl"] = True
        if user:
            options["username"] = unquote(user)
        if password:
            options["password"] = unquote(password)
        manager = Sentinel(places, sentinel_kwargs=guards)  # type: ignore[no-untyped-call]
        number = int(query.get("db", db or 0))
        master = manager.master_for(service, db=number, **options)  # type: ignore[no-untyped-call]
        pool: ConnectionPool = master.connection_pool
        return pool


def _why(error: Exception) -> str:
    """What is taken for a port may be part of a password."""
    if str(error).startswith("Port "):
        return "the port is no number (in a password write %2F for /, %3F for ?, %23 for #)"
    return str(error)
