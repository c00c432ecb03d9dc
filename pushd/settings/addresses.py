"""Kinds of settings that name places on the network."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from pushd.settings.kinds import BadValueError, Kind
from pushd.settings.texts import Texts


class Address(NamedTuple):
    """Where to listen. Printed as HOST:PORT, an IPv6 host in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can come here."""
        return is_loopback(self.host)

    def meets(self, other: Address) -> bool:
        """Whether one process cannot listen on both."""
        hosts = {self.host, other.host}
        everywhere = hosts & {"0.0.0.0", "::"}
        return self.port == other.port != 0 and (len(hosts) == 1 or bool(everywhere))


def is_loopback(host: str) -> bool:
    """Whether this name or address is the machine itself. Other names are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Listen(Kind[Address]):
    form, metavar = "127.0.0.1:8080", "HOST:PORT"

    def parse(self, text: str) -> Address:
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 host in brackets, [::1]:8080")
        if not host or not colon or not re.fullmatch(r"[A-Za-z0-9_.:%-]+", host):
            raise ValueError(f"{text!r} is not HOST:PORT, like 127.0.0.1:8080 or 0.0.0.0:8080")
        if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError(f"{port!r} is no port: 0 to 65535 (0 lets the system choose)")
        return Address(host, int(port))


class OptionalListen(Kind[Address | None]):
    """An address, or none."""

    form, metavar = Listen.form, Listen.metavar

    def parse(self, text: str) -> Address | None:
        return None if text.strip().lower() in ("", "none") else Listen().parse(text)

    def show(self, value: Address | None) -> str:
        return "none" if value is None else str(value)

    def plain(self, value: Address | None) -> object:
        return None if value is None else self.show(value)


class Origins(Texts):
    """Exact web origins, as a browser sends them in ``Origin``."""

    form, metavar = "https://app.example.com,https://admin.example.com", "ORIGIN,..."
    _ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")

    def read(self, origins: list[str]) -> tuple[str, ...]:
        problems = [problem for origin in origins if (problem := self._problem(origin))]
        if problems:
            raise BadValueError(problems)
        return tuple(dict.fromkeys(origins))

    def _problem(self, origin: str) -> str | None:
        lower = origin.lower().rstrip("/")
        found = self._ORIGIN.fullmatch(lower)
        if found is None:
            return f"{origin!r} is no origin: scheme and host, like https://app.example.com"
        scheme, host, port = found.groups()
        if port == {"http": "80", "https": "443"}[scheme]:
            lower = f"{scheme}://{host}"
        if lower != origin:
            return f"browsers send {origin!r} as {lower}: write that"
        return None


class Networks(Texts):
    """IP networks or single addresses."""

    form, metavar = "10.0.0.0/8,192.0.2.7", "NETWORK,..."
    in_quotes = True

    def read(self, networks: list[str]) -> tuple[str, ...]:
        found, problems = [], []
        for network in networks:
            try:
                found.append(str(ipaddress.ip_network(network)))
            except ValueError as error:
                problems.append(f"{network!r} is no network: {error}")
        if problems:
            raise BadValueError(problems)
        return tuple(dict.fromkeys(found))
