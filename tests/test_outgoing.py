"""The outgoing side over real sockets: order, holding back, stalls, and the hand-over stream."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from pushd.handover import HandoverStream
from pushd.kept import Kept
from pushd.metrics import Counters
from pushd.outgoing import Flusher, Outgoing
from tests.support.app import until
from tests.support.http import patience

BIG = b"x" * 400_000  # more than both small buffers take


@asynccontextmanager
async def pair(
    write_timeout: float = 60.0, kept: Kept | None = None
) -> AsyncIterator[tuple[Outgoing, socket.socket]]:
    """An outgoing side, and the peer's non-blocking socket. ``kept``: of several of them."""
    if kept is None:
        kept = Kept(1 << 30)
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with patience(), theirs:
        async with trio.open_nursery() as services:
            out = Outgoing(ours, Flusher(services, write_timeout, Counters(), kept))
            try:
                yield out, theirs
            finally:
                out.release()
            # A flusher that does not end by itself would hang the test here.


async def read(peer: socket.socket, count: int, step: int = 65536) -> bytes:
    data = bytearray()
    while len(data) < count:
        await trio.lowlevel.wait_readable(peer)
        piece = peer.recv(min(step, count - len(data)))
        assert piece, f"ended after {len(data)} of {count} bytes"
        data += piece
    return bytes(data)


async def read_to_end(peer: socket.socket) -> bytes:
    data = bytearray()
    while True:
        await trio.lowlevel.wait_readable(peer)
        piece = peer.recv(65536)
        if not piece:
            return bytes(data)
        data += piece


@pytest.mark.parametrize("seed", range(5))
async def test_bytes_stay_in_order_whatever_the_socket_takes(seed: int) -> None:
    rng = random.Random(seed)
    pieces = [rng.randbytes(rng.choice([1, 10, 1000, 50_000])) for _ in range(100)]
    async with pair() as (out, peer):
        received = bytearray()
        for at, piece in enumerate(pieces):
            out.write(piece)
            if rng.random() < 0.5:
                written = sum(map(len, pieces[: at + 1]))
                few = min(rng.randrange(20_000), written - len(received))
                received += await read(peer, few)
        received += await read(peer, sum(map(len, pieces)) - len(received), rng.randrange(1, 9999))
        assert received == b"".join(pieces)
        await until(lambda: not out.hold)
        assert out.tail_bytes == 0


async def test_held_while_a_tail_waits_and_told_once_when_it_is_out() -> None:
    async with pair() as (out, peer):
        drained: list[bool] = []
        out.on_drained = lambda: drained.append(out.hold)
        assert out.write(b"small") is True
        assert not out.hold
        assert out.write(BIG) is False
        assert out.hold
        assert out.write(b"end") is False
        assert 0 < out.tail_bytes <= len(BIG) + 3
        assert drained == []
        assert await read(peer, len(BIG) + 8) == b"small" + BIG + b"end"
        await until(lambda: drained)
        assert drained == [False]
        assert out.tail_bytes == 0
        assert out.write(b"more") is True
        assert await read(peer, 4) == b"more"


async def test_a_cork_holds_hints_back_and_nothing_else() -> None:
    async with pair() as (out, peer):
        drained: list[str] = []
        out.on_drained = lambda: drained.append("drained")
        out.cork()
        assert out.hold
        assert out.write(BIG) is False
        assert await read(peer, len(BIG)) == BIG
        await until(lambda: drained)
        assert out.hold, "still corked"
        out.uncork()
        assert not out.hold
        assert drained == ["drained", "drained"]
        out.write(BIG)
        out.cork()
        out.uncork()
        assert out.hold, "a tail waits"
        assert len(drained) == 2
        await read(peer, len(BIG))
        await until(lambda: len(drained) == 3)


async def test_who_never_reads_is_given_up_at_the_deadline() -> None:
    async with pair(write_timeout=0.05) as (out, peer):
        out.write(BIG)
        await until(lambda: out.closed)
        assert out.hold
        assert out.write(b"more") is False
        rest = await read_to_end(peer)
        assert rest == BIG[: len(rest)]


async def test_a_peer_that_left_ends_it_quietly() -> None:
    async with pair() as (out, peer):
        peer.close()
        while out.write(b"x" * 100):  # the first may still go into the buffer
            await trio.lowlevel.checkpoint()
        assert out.closed
        assert out.hold
        out.abort()
        out.abort()


async def test_leaving_while_a_tail_waits() -> None:
    async with pair() as (out, peer):
        out.write(BIG)
        await trio.testing.wait_all_tasks_blocked()
        peer.close()
        await until(lambda: out.closed)


@pytest.mark.parametrize("end", ["abort", "aclose"])
async def test_the_end_wakes_the_reader(end: str) -> None:
    """Also when the peer keeps its own side open."""
    async with pair() as (out, _), trio.open_nursery() as nursery:
        ends: list[bytes] = []
        stream = HandoverStream(out, b"")

        async def reader() -> None:
            ends.append(await stream.receive_some())

        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        if end == "abort":
            out.abort()
        else:
            await stream.aclose()
        await until(lambda: ends == [b""])


async def test_a_stream_replays_first_and_then_reads() -> None:
    heard: list[str] = []
    async with pair() as (out, peer):
        stream = HandoverStream(out, b"abcdef", lambda: heard.append("heard"))
        peer.send(b"ghi")
        assert [await stream.receive_some(4), await stream.receive_some(4)] == [b"abcd", b"ef"]
        assert heard == []
        assert [await stream.receive_some(2), await stream.receive_some()] == [b"gh", b"i"]
        assert heard == ["heard", "heard"]
        peer.shutdown(socket.SHUT_WR)
        assert await stream.receive_some() == b""


async def test_a_one_way_stream_drops_what_comes_and_sees_the_end() -> None:
    async with pair() as (out, peer):
        stream = HandoverStream(out, b"GET", one_way=True)
        assert await stream.receive_some() == b"GET"
        peer.send(b"a second request")
        peer.shutdown(socket.SHUT_WR)
        assert await stream.receive_some() == b""


def streamed(out: Outgoing) -> HandoverStream:
    stream = HandoverStream(out, b"")
    out.on_drained = stream.drained
    return stream


async def test_send_all_returns_when_the_socket_has_it_all() -> None:
    async with pair() as (out, peer), trio.open_nursery() as nursery:
        stream = streamed(out)
        nursery.start_soon(stream.send_all, BIG)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(stream.wait_send_all_might_not_block)
        await trio.testing.wait_all_tasks_blocked()
        assert out.tail_bytes
        assert len(nursery.child_tasks) == 2
        assert await read(peer, len(BIG)) == BIG
        await until(lambda: not nursery.child_tasks)


async def test_a_cancelled_send_loses_and_repeats_nothing() -> None:
    async with pair() as (out, peer):
        stream = streamed(out)
        with trio.move_on_after(0) as scope:
            await stream.send_all(b"never begun")
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, BIG)
            await trio.testing.wait_all_tasks_blocked()
            out.write(b"frame in between")
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"after")
            expected = BIG + b"frame in between" + b"after"
            assert await read(peer, len(expected)) == expected
            await stream.send_eof()
        assert await read_to_end(peer) == b""


@pytest.mark.parametrize("end", ["deadline", "peer leaves", "abort", "aclose"])
async def test_send_all_ends_when_the_connection_does(end: str) -> None:
    async with pair(write_timeout=0.05 if end == "deadline" else 60) as (out, peer):
        stream = streamed(out)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.send_all(BIG)

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            if end == "peer leaves":
                peer.close()
            elif end == "abort":
                out.abort()
            elif end == "aclose":
                await stream.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"more")


# -- what is kept for all peers together ---------------------------------------------------------


def big(number: int) -> bytes:
    return b"%d" % number * 400_000


async def test_when_too_much_is_kept_the_slowest_is_cut() -> None:
    kept = Kept(3 * len(big(0)))
    async with (
        pair(kept=kept) as (reads, reader),
        pair(kept=kept) as (stalls, staller),
        pair(kept=kept) as (third, _),
        pair(kept=kept) as (fourth, _),
    ):
        for at, out in enumerate((reads, stalls, third)):
            out.write(big(at))
        assert kept.size == kept.most
        received = await read(reader, 100_000)  # by now the socket has taken more
        fourth.write(big(3))
        assert [each.closed for each in (reads, stalls, third, fourth)] == [
            False,
            True,
            False,
            False,
        ]
        assert kept.size == kept.most
        assert stalls.tail_bytes == 0
        assert len(await read_to_end(staller)) < len(big(1))
        received += await read(reader, len(big(0)) - len(received))
        assert received == big(0)
        await until(lambda: not reads.hold)
        assert kept.size == 2 * len(big(0))
    assert kept.size == 0


async def test_one_peer_alone_may_have_more_than_all_together() -> None:
    kept = Kept(1000)
    async with pair(kept=kept) as (out, peer):
        out.write(BIG)
        out.write(BIG[:-1])
        assert await read(peer, 2 * len(BIG) - 1) == BIG + BIG[:-1]
        await until(lambda: not out.hold)
        assert kept.size == 0


async def test_what_is_kept_for_many_counts_once() -> None:
    """An answer that a thousand pollers wait for is in memory once."""
    kept = Kept(len(BIG))
    async with (
        pair(kept=kept) as (one, peer),
        pair(kept=kept) as (two, _),
        pair(kept=kept) as three,
    ):
        for out in (one, two, three[0]):
            out.write(BIG)
        assert [one.closed, two.closed, three[0].closed] == [False] * 3
        assert kept.size == len(BIG)
        two.abort()
        await read(peer, len(BIG))
        await until(lambda: not one.hold)
        assert kept.size == len(BIG)
        three[0].finish()
        assert kept.size == 0
