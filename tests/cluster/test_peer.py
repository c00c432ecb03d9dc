"""Asking another node over real sockets: kept connections, deadlines, bounds, TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from pushd.cluster import peer as peers
from pushd.cluster.peer import Peer
from pushd.errors import Expired, Overloaded, OwnerAway
from tests.support.app import until
from tests.support.fakeowner import FakeOwner, Lost, fake_owner
from tests.support.tls import certificate

SOON = 60.0  # a bound for machines that are busy


def peer_of(owner: FakeOwner, **members: Any) -> Peer:
    return Peer(f"http://127.0.0.1:{owner.port}", lambda: "token", **members)


def later(seconds: float = SOON) -> float:
    return trio.current_time() + seconds


async def good(path: str, body: Any) -> tuple[int, object]:
    return 200, body


async def test_over_tls(tmp_path: Path) -> None:
    context = certificate(tmp_path, "localhost")
    async with fake_owner(good, context) as owner:
        url = f"https://localhost:{owner.port}/prefix"
        trusting = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        peer = Peer(url, lambda: "token", context=trusting)
        for number in range(3):
            body = str(number).encode()
            assert await peer.ask("POST", "/v1/pull", body, deadline=later()) == body
        assert owner.connections == 1
        assert owner.requests[0] == ("/prefix/v1/pull", 0)
        peer.close()
        stranger = Peer(url, lambda: "token", context=ssl.create_default_context())
        with pytest.raises(OwnerAway, match="certificate") as caught:
            await stranger.ask("POST", "/v1/pull", b"1", deadline=later())
        assert not caught.value.sent


async def test_a_refusal_is_raised_as_it_was_there() -> None:
    async def refuse(path: str, body: Any) -> tuple[int, object]:
        problem = {"type": "about:blank", "code": "expired", "status": 410, "detail": "d"}
        return 410, {**problem, "resume": "x.1", "retry_after_ms": 1500}

    async with fake_owner(refuse) as owner:
        peer = peer_of(owner)
        with pytest.raises(Expired) as caught:
            await peer.ask("POST", "/", b"1", deadline=later())
        assert (caught.value.extra, caught.value.retry_after) == ({"resume": "x.1"}, 2)
        peer.close()


async def test_what_may_have_been_done_is_said(mock_clock: MockClock) -> None:
    async def silent(path: str, body: Any) -> tuple[int, object]:
        if body == "wait":  # it has come: now its time is up
            mock_clock.jump(SOON)
            await trio.sleep_forever()
        raise Lost

    async with fake_owner(silent) as owner:
        peer = peer_of(owner)
        for body in (b'"lose"', b'"wait"'):
            with pytest.raises(OwnerAway) as caught:
                await peer.ask("POST", "/", body, deadline=later())
            assert caught.value.sent
    nobody = Peer("http://127.0.0.1:1", lambda: "token")
    with pytest.raises(OwnerAway) as caught:
        await nobody.ask("POST", "/", b"1", deadline=later())
    assert not caught.value.sent


async def test_so_many_connections_and_no_more() -> None:
    gate, inside, most = trio.Event(), 0, 0

    async def held(path: str, body: Any) -> tuple[int, object]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await gate.wait()
        inside -= 1
        return 200, body

    async with fake_owner(held) as owner, trio.open_nursery() as nursery:
        peer = peer_of(owner, connections=2, waiting=5)
        answers: list[bytes] = []

        async def ask() -> None:
            answers.append(await peer.ask("POST", "/", b"1", deadline=later()))

        for _ in range(5):
            nursery.start_soon(ask)
        await until(lambda: inside == 2)
        with pytest.raises(Overloaded):
            await peer.ask("POST", "/", b"1", deadline=later())
        gate.set()
        await until(lambda: len(answers) == 5)
        assert (most, owner.connections) == (2, 2)
        peer.close()


async def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    async def once(path: str, body: Any) -> tuple[int, object]:
        if len(owner.requests) == 2 and owner.connections == 1:
            raise Lost  # as if it had closed it just then
        return 200, body

    async with fake_owner(once) as owner:
        peer = peer_of(owner)
        for number in range(4):
            body = str(number).encode()
            assert await peer.ask("POST", "/", body, deadline=later()) == body
        assert [body for _, body in owner.requests] == [0, 1, 1, 2, 3]
        assert owner.connections == 2
        peer.close()


async def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MOST", 10_000)

    async def huge(path: str, body: Any) -> tuple[int, object]:
        return 200, b"1" * 1_000_000

    async with fake_owner(huge) as owner:
        peer = peer_of(owner)
        with pytest.raises(OwnerAway, match="more than 10000 bytes"):
            await peer.ask("POST", "/", b"1", deadline=later())
        peer.close()
