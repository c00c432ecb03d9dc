"""An identity provider: a key per name, its JWKS, and a small web server that serves it."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
import trio
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm

ISS, AUD = "https://login.example.com", "pushd"


@cache
def private(kid: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def key_set(*kids: str) -> bytes:
    """The JWKS of the keys of these names."""
    made = []
    for kid in kids:
        member: dict[str, Any] = OKPAlgorithm.to_jwk(private(kid).public_key(), as_dict=True)
        made.append({**member, "kid": kid, "use": "sig"})
    return json.dumps({"keys": made}).encode()


def token(kid: str, user: str = "alice", **claims: Any) -> str:
    """Claims that are None are left out."""
    now = int(time.time())
    grants = {"subscribe": ["*"], "publish": ["*"]}
    made = {"sub": user, "iat": now, "exp": now + 3600, "iss": ISS, "aud": AUD, "pushd": grants}
    made = {name: value for name, value in (made | claims).items() if value is not None}
    return jwt.encode(made, private(kid), "EdDSA", {"kid": kid})


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Provider:
    """What it answers is set by the test. ``asked`` counts requests; ``go`` holds answers back."""

    def __init__(self) -> None:
        self.answer = ok(key_set("one"))
        self.asked = 0
        self.paths: list[str] = []
        self.heads: list[bytes] = []
        self.go = trio.Event()
        self.go.set()
        self.drip = False  # a byte at a time, for ever
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks.json"

    def publish(self, *kids: str) -> None:
        """From now on these are its keys."""
        self.answer = ok(key_set(*kids))

    async def serve(self, stream: trio.abc.Stream) -> None:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                data = await stream.receive_some()
                if not data:
                    return
                head += data
            self.asked += 1
            self.heads.append(head)
            self.paths.append(head.split()[1].decode())
            await self.go.wait()
            if self.drip:
                await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    await stream.send_all(b"1\r\n \r\n")
                    await trio.sleep(0.05)
            await stream.send_all(self.answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it went away
        finally:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def provider(context: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    """``context``: of a server that speaks TLS."""
    async with trio.open_nursery() as nursery:
        made = Provider()
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        made.port = listener.socket.getsockname()[1]
        served: list[trio.abc.Listener[Any]] = [listener]
        if context is not None:
            served = [trio.SSLListener(listener, context, https_compatible=True)]
        nursery.start_soon(trio.serve_listeners, made.serve, served)
        yield made
        nursery.cancel_scope.cancel()
