"""HTTP requests as the protocol needs them: one typed error for everything that can go wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import trio

from pushd.client.credential import Credential
from pushd.client.encode import encode
from pushd.client.groups import one_exception
from pushd.client.plainbody import with_plain_body
from pushd.client.problems import BadAnswer, Unreachable, error_of_answer
from pushd.errors import BadSetting, TokenExpired, Unauthorized

T = TypeVar("T")

NDJSON: Final = "application/x-ndjson"
_CONNECT_S: Final = 10.0
# How long an answer may take beyond the time that the request itself asks for.
_ANSWER_S: Final = 30.0
_LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)
_UNLIMITED: Final = httpx.Limits(max_connections=None, max_keepalive_connections=20)
# Of an event stream, that nobody has looked at yet.
_MOST_PIECES: Final = 1000


def channel_path(channel: str) -> str:
    """``/v1/channels/{channel}``, percent-encoded; ':' is left readable."""
    return "/v1/channels/" + quote(channel, safe=":")


def check_url(url: str) -> str:
    """The base URL without its last slash. Raises BadSetting with the reason."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise BadSetting(f"{url!r} is no server address: write http://HOST:PORT or https://HOST.")
    if parts.username is not None or parts.password is not None:
        raise BadSetting("A server address holds no credentials: give the key or token by itself.")
    return url.rstrip("/")


class Http:
    """The connections to one server, with one credential. An async context manager."""

    def __init__(
        self, url: str, credential: Credential, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """``transport``: instead of the network, for tests."""
        self.url = check_url(url)
        self.credential = credential
        # A proxy named in the environment is for the outside, never for this machine.
        trust_env = not _is_loopback(self.url)
        tls = httpx.create_ssl_context(trust_env=trust_env)

        def client(limits: httpx.Limits) -> httpx.AsyncClient:
            timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
            return httpx.AsyncClient(
                timeout=timeout, transport=transport, trust_env=trust_env, verify=tls, limits=limits
            )

        self._client = client(_LIMITS)
        # What the server holds must not take the connections that the others are waiting for.
        self._holding = client(_UNLIMITED)

    async def __aenter__(self) -> Http:
        await self._client.__aenter__()
        await self._holding.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._holding.aclose()
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, str | int], *, wait_s: float = 0) -> bytes:
        """The answer's body. ``wait_s``: how long the server may hold the request."""
        timeout_s = wait_s + _ANSWER_S
        return await self._request("GET", path, params, None, timeout_s, holds=wait_s > 0)

    async def post(
        self, path: str, body: Any, *, wait_s: float = 0, answer_s: float = _ANSWER_S
    ) -> bytes:
        """Like ``get``, with ``body`` as JSON. ``answer_s``: patience beyond ``wait_s``."""
        raw, timeout_s = encode(body), wait_s + answer_s
        return await self._request("POST", path, {}, raw, timeout_s, holds=wait_s > 0)

    async def delete(self, path: str, params: Mapping[str, str | int]) -> bytes:
        """Like ``get``."""
        return await self._request("DELETE", path, params, None, _ANSWER_S, holds=False)

    async def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int],
        body: bytes | None,
        timeout_s: float,
        *,
        holds: bool,
    ) -> bytes:
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
        headers = {} if body is None else {"Content-Type": "application/json"}
        client = self._holding if holds else self._client

        async def attempt(authorization: dict[str, str]) -> bytes:
            with _one_error(self.url):
                request = client.build_request(
                    method, self.url + path, params=params, content=body,
                    headers=headers | authorization, timeout=timeout,
                )  # fmt: skip
                answer = await client.send(with_plain_body(request, body))
            if answer.is_success:
                return answer.content
            raise error_of_answer(answer.status_code, answer.content, answer.headers)

        return await self._authorized(attempt)

    async def _authorized(self, attempt: Callable[[dict[str, str]], Awaitable[T]]) -> T:
        """Once more with a new token when the first one is refused and another can be had."""
        headers = await self.credential.headers()
        token = self.credential.current
        try:
            return await attempt(headers)
        except (Unauthorized, TokenExpired):
            if not self.credential.refused(token):
                raise
        return await attempt(await self.credential.headers())

    async def post_lines(
        self,
        path: str,
        body: bytes,
        take: Callable[[bytes], None],
        *,
        answer_s: float = _ANSWER_S,
    ) -> None:
        """Send NDJSON and give each line of the answer to ``take`` as it comes.

        Only whole lines: what was cut off says nothing. ``take`` must not raise. Raises like
        ``get``; what ``take`` was given by then stays true.
        """

        timeout = httpx.Timeout(answer_s, connect=_CONNECT_S)

        async def attempt(authorization: dict[str, str]) -> None:
            rest = b""
            with _one_error(self.url):
                request = self._client.build_request(
                    "POST", self.url + path, content=body,
                    headers={"Content-Type": NDJSON, **authorization}, timeout=timeout,
                )  # fmt: skip
                answer = await self._client.send(with_plain_body(request, body), stream=True)
                async with aclosing(answer):
                    await _check(answer)
                    async for chunk in answer.aiter_bytes():
                        *lines, rest = (rest + chunk).split(b"\n")
                        for line in lines:
                            if line.strip():
                                take(line)
            # The body ended as it should (else httpx raised): the last line needs no line end.
            if rest.strip():
                take(rest)

        await self._authorized(attempt)

    @asynccontextmanager
    async def events(self, target: str) -> AsyncIterator[trio.MemoryReceiveChannel[str]]:
        """An event stream's text in pieces, without a time-out: whoever reads it has one.

        Raises like ``get``, also while the body runs; a refused token is not tried again.
        """
        headers = {"Accept": "text/event-stream", **await self.credential.headers()}
        timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S, read=None)
        with _one_error(self.url):
            async with self._holding.stream(
                "GET", self.url + target, headers=headers, timeout=timeout
            ) as answer:
                await _check(answer)
                kind = answer.headers.get("content-type", "")
                if not kind.startswith("text/event-stream"):
                    raise BadAnswer(f"{self.url} answered {kind!r} instead of an event stream.")
                # Read by a task of its own: cancelling it ends the library's generators as well,
                # which would otherwise be left to the garbage collector.
                send, receive = trio.open_memory_channel[str](_MOST_PIECES)
                with one_exception():
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_read, answer, send)
                        yield receive
                        nursery.cancel_scope.cancel()


async def _check(answer: httpx.Response) -> None:
    if not answer.is_success:
        await answer.aread()
        raise error_of_answer(answer.status_code, answer.content, answer.headers)


async def _read(answer: httpx.Response, send: trio.MemorySendChannel[str]) -> None:
    with send:
        async for text in answer.aiter_text():
            try:
                send.send_nowait(text)
            except trio.WouldBlock:
                raise httpx.ReadError("too much that nobody takes") from None


@contextmanager
def _one_error(url: str) -> Iterator[None]:
    """Turns what the HTTP library raises into Unreachable that names the server."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as cause:
        raise Unreachable(f"No server answers at {url}.") from cause
    except httpx.TimeoutException as cause:
        raise Unreachable(f"{url} did not answer in time.") from cause
    except (httpx.HTTPError, httpx.StreamError) as cause:
        raise Unreachable(f"The connection to {url} broke.") from cause
    except httpx.InvalidURL as cause:
        raise BadSetting(f"{url!r} is no server address.") from cause


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
