"""Settings of what pushd asks and tells your application."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pushd.settings.addresses import is_loopback
from pushd.settings.declare import setting
from pushd.settings.kinds import BadValueError, Count, Duration, Kind, Secret
from pushd.settings.texts import Texts

MINUTE: Final = 60.0
MAX_AUTH_HEADERS: Final = 16


class OptionalUrl(Kind[str | None]):
    """An address of the application, or none. Shown without its query, which may hold a secret."""

    form, metavar = "https://app.example.com/push", "URL"

    def parse(self, text: str) -> str | None:
        text = text.strip()
        if text.lower() in ("", "none"):
            return None
        problem = _url_problem(text)
        if problem is not None:
            raise ValueError(problem)
        return text

    def show(self, value: str | None) -> str:
        return "none" if value is None else value.partition("?")[0]

    def plain(self, value: str | None) -> object:
        return None if value is None else self.show(value)


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no address"
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "may hold only visible ASCII characters"
    if parts.scheme not in ("https", "http") or not host:
        return "must begin with https://HOST or http://HOST"
    if "@" in parts.netloc or parts.fragment:
        return "may have no user, password or fragment: requests are signed"
    return None


def is_open_to_readers(url: str) -> bool:
    """Whether what is sent there can be read on its way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


class SigningSecret(Secret):
    """As Standard Webhooks have it: ``whsec_`` and base64 of 24 bytes or more; or any long text.

    Or several with commas between: all of them sign while one is replaced.
    """

    form = "whsec_…"

    def parse(self, text: str) -> str:
        for part in text.split(","):
            super().parse(part)
            if part.startswith("whsec_"):
                self._check_encoded(part[len("whsec_") :])
        return text

    def _check_encoded(self, text: str) -> None:
        try:
            key = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError("must be base64 after whsec_") from None
        if len(key) < self.least:
            raise ValueError(f"holds {len(key)} bytes, must have at least {self.least}")


# What is no business of the application, or is the token itself.
_KEPT_BACK = frozenset(
    {
        *("authorization", "host", "connection", "content-length", "transfer-encoding", "upgrade"),
        *("sec-websocket-key", "sec-websocket-protocol", "proxy-authorization"),
    }
)


class HeaderNames(Texts):
    """Names of request headers, in lower case."""

    form, metavar = "cookie,x-tenant", "NAME,..."
    _NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")

    def read(self, names: list[str]) -> tuple[str, ...]:
        lower = [name.lower() for name in names]
        problems = [f"{name!r} is no header" for name in lower if not self._NAME.fullmatch(name)]
        problems += [f"{name!r} cannot be sent" for name in lower if name in _KEPT_BACK]
        if len(lower) > MAX_AUTH_HEADERS:
            problems.append(f"at most {MAX_AUTH_HEADERS} headers")
        if problems:
            raise BadValueError(problems)
        return tuple(dict.fromkeys(lower))


@dataclass(frozen=True, kw_only=True)
class Application:
    """Your application"""

    webhook_secret: str | None = setting(
        None,
        SigningSecret(least=24),
        "Signs what is sent to the application (Standard Webhooks): whsec_… or a long random text; "
        "two with a comma between while one is replaced.",
    )
    auth_url: str | None = setting(
        None,
        OptionalUrl(),
        "Asked who a token is of that is neither a JWT nor a known key.",
        common=True,
    )
    auth_headers: tuple[str, ...] = setting(
        (),
        HeaderNames(),
        "Headers of clients' requests that go along with the token, cookie for instance; one of "
        "them may do without a token.",
    )
    auth_request_timeout: float = setting(
        5.0, Duration(0.05, MINUTE), "Time that auth_url has to answer; then clients get 503."
    )
    auth_requests: int = setting(32, Count(1, 1000), "Requests to auth_url at one time.")
    auth_requests_per_second: int = setting(
        200, Count(1, 100_000), "Tokens that auth_url is asked about; beyond them clients get 503."
    )
    auth_refusals_per_address: int = setting(
        20,
        Count(1, 1_000_000),
        "Tokens of one address that auth_url may refuse within a minute; then 429.",
    )
