"""Pages of other origins: what they may read, ask for and connect to. One list for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pushd.errors import Forbidden, Unauthorized
from pushd.front.request import Request
from pushd.hub import Hub

MAX_AGE_S: Final = 7200  # for which a browser remembers what it was allowed
# Else a browser sends no cookies along with what a script asks for.
_WITH_COOKIES: Final = b"Access-Control-Allow-Credentials: true\r\n"
_JSON: Final = (b"application/json", b"application/x-ndjson")
_CURE: Final = "Add the origin to the setting 'origins' (PUSHD_ORIGINS)."


def readable(hub: Hub, request: Request) -> bytes:
    """Header lines that let the page read the answer; none for pages that may not."""
    origin = request.headers.get(b"origin")
    if origin is None or not hub.origins.allows(origin.decode("latin-1")):
        return b""
    return (
        b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n"
        b"Access-Control-Expose-Headers: Retry-After\r\n%b"
    ) % (origin, _WITH_COOKIES if hub.authenticator.takes_cookies else b"")


def answer_preflight(hub: Hub, request: Request) -> bytes:
    """The answer to OPTIONS. Raises Forbidden for a page that may not ask."""
    origin = request.headers.get(b"origin")
    if origin is None:
        extra = b"Allow: GET, POST, PUT, DELETE, OPTIONS\r\n"
    elif not hub.origins.allows(origin.decode("latin-1")):
        raise Forbidden("This origin is not on the list.", cure=_CURE)
    else:
        extra = (
            b"Access-Control-Allow-Methods: GET, POST, PUT, DELETE\r\n"
            # What else libraries send (tracing, cache control) is ignored, so it may come: a
            # star is every header but Authorization, and older browsers need the list.
            b"Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID, *\r\n"
            b"Access-Control-Max-Age: %d\r\n"
        ) % MAX_AGE_S
    return hub.responses.make(204, b"", extra=extra)


def check_connecting(hub: Hub, request: Request) -> None:
    """For WebSockets and event streams, which no preflight guards. Raises Forbidden."""
    origin = request.headers.get(b"origin")
    host = request.headers.get(b"host", b"").decode("latin-1")
    if not hub.origins.allows_upgrade(origin.decode("latin-1") if origin else None, host):
        raise Forbidden("Pages of this origin may not connect.", cure=_CURE)


def check_ambient(hub: Hub, method: bytes, headers: Mapping[bytes, bytes]) -> None:
    """For requests without a token, which only carry what a browser (or proxy) adds by itself.

    Any page could have caused one, so it has to show that it comes from one of ours; and what
    changes something has a body that no form can send. Raises Unauthorized, Forbidden.
    """
    if not any(hub.authenticator.sent(headers)):
        raise Unauthorized("This needs a key or token.")
    origin = headers.get(b"origin")
    if origin is None:
        # Browsers leave it out where a page asks its own host for something.
        if headers.get(b"sec-fetch-site") != b"same-origin":
            raise Unauthorized(
                "Without a token, a request has to say of which page it is.",
                cure="Send a token; or Origin, as browsers do.",
            )
    else:
        host = headers.get(b"host", b"").decode("latin-1")
        if not hub.origins.allows_upgrade(origin.decode("latin-1"), host):
            raise Forbidden("Pages of this origin need a token here.", cure=_CURE)
    if method != b"GET":
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind not in _JSON:
            raise Forbidden(
                "Without a token, what is sent has to be JSON and to say so.",
                cure="Send a token, or Content-Type: application/json.",
            )
