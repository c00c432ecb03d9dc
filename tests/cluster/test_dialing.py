"""Connections to another node that are not made: nothing of them stays open."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from pushd.cluster import dialing
from pushd.cluster.dialing import dial
from tests.support.fakeowner import fake_owner
from tests.support.tls import certificate

SOON = 60.0  # a bound for machines that are busy


@dataclass
class Silent:
    """Takes connections, and says nothing."""

    url: str
    asked: trio.Event = field(default_factory=trio.Event)  # a handshake has begun

    async def serve(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            if await stream.receive_some():
                self.asked.set()
        await trio.sleep_forever()


@pytest.fixture
async def silent() -> AsyncIterator[Silent]:
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        silent = Silent(f"https://127.0.0.1:{listener.socket.getsockname()[1]}")
        nursery.start_soon(trio.serve_listeners, silent.serve, [listener])
        yield silent
        nursery.cancel_scope.cancel()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[trio.SocketStream]:
    """What was opened: no garbage collection may close it instead."""
    streams: list[trio.SocketStream] = []
    open_tcp_stream = trio.open_tcp_stream

    async def open_and_keep(host: str, port: int) -> trio.SocketStream:
        streams.append(await open_tcp_stream(host, port))
        return streams[-1]

    monkeypatch.setattr(trio, "open_tcp_stream", open_and_keep)
    return streams


async def test_a_handshake_without_an_answer(
    silent: Silent, opened: list[trio.SocketStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "CONNECT_S", 0.1)
    with trio.fail_after(SOON):
        while not opened:  # a machine may be so busy that it does not come so far
            with pytest.raises(OSError, match="no connection within"):
                await dial(silent.url)
    assert {each.socket.fileno() for each in opened} == {-1}


async def test_a_handshake_that_is_cancelled(
    silent: Silent, opened: list[trio.SocketStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "CONNECT_S", SOON)
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, silent.url)
            await silent.asked.wait()
            nursery.cancel_scope.cancel()
    [transport] = opened
    assert transport.socket.fileno() == -1


async def test_a_certificate_that_is_not_trusted(
    opened: list[trio.SocketStream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "CONNECT_S", SOON)

    async def unasked(path: str, body: object) -> tuple[int, object]:
        raise AssertionError(path)

    async with fake_owner(unasked, certificate(tmp_path, "localhost")) as owner:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await dial(f"https://localhost:{owner.port}")
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    [transport] = opened
    assert transport.socket.fileno() == -1
