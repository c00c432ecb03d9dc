"""The load generator against small servers of which we know what they did: it must count that."""

import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection, wrap_server_stream

from benchmarks import generator
from benchmarks.naive import quart_naive, ws_naive
from tests.support.app import until

CONNECTIONS = 10
MESSAGES = "/v1/channels/bench/messages"
Options = dict[str, object]


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    generator.build()


async def load(mode: str, server: Options, **options: object) -> dict[str, Any]:
    # Long for a machine that is busy; who lets something never come says how long to wait for it.
    times = {"timeout": 300, "round_timeout": 120}
    options = {"connections": CONNECTIONS, "settle": 0, **times, **options}
    command = generator.arguments(mode, **{**server, **options})
    done = await trio.run_process(command, capture_stdout=True)
    return generator.parse(mode, done.stdout)


@asynccontextmanager
async def websockets(hub: ws_naive.Hub) -> AsyncIterator[Options]:
    async with trio.open_nursery() as nursery:
        port, publish_port = await nursery.start(ws_naive.serve, hub, 0, 0)
        yield {"port": port, "publish_port": publish_port}
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def quart(directory: Path) -> AsyncIterator[Options]:
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(quart_naive.serve, directory)
        yield {
            "port": addresses[0].rpartition(":")[2],
            "path": "/v1/ws?channels=bench",
            "pull_path": MESSAGES,
            "publish_path": MESSAGES,
        }
        nursery.cancel_scope.cancel()


# ---- WebSockets ----


async def test_fanout_counts_every_connection_in_every_round() -> None:
    async with websockets(ws_naive.Hub()) as server:
        result = await load("fanout", server, rounds=3)
    assert result["connections"] == CONNECTIONS
    assert [r["got"] for r in result["rounds"]] == [CONNECTIONS] * 3
    assert [r["missing"] for r in result["rounds"]] == [0] * 3
    assert all(0 < r["first_s"] <= r["last_s"] for r in result["rounds"])


async def test_fanout_sees_one_frame_that_is_dropped() -> None:
    sends = 0

    async def drop_one(ws: WebSocketConnection, text: str) -> None:
        nonlocal sends
        sends += 1
        if sends != CONNECTIONS + 4:  # the fourth of the second round
            await ws.send_message(text)

    async with websockets(ws_naive.Hub(drop_one)) as server:
        result = await load("fanout", server, rounds=3, round_timeout=10)  # of a busy machine
    assert [r["missing"] for r in result["rounds"]] == [0, 1, 0]


async def test_fanout_counts_repeats_apart() -> None:
    async def twice(ws: WebSocketConnection, text: str) -> None:
        await ws.send_message(text)
        await ws.send_message(text)

    async with websockets(ws_naive.Hub(twice)) as server:
        result = await load("fanout", server, rounds=1)
    (only,) = result["rounds"]
    assert only["got"] == CONNECTIONS
    # The ack comes after all frames, but the last one may still be unread when the round ends.
    assert CONNECTIONS - 1 <= only["later"] <= CONNECTIONS


class Chopped(trio.abc.Stream):
    """Sends each piece on its own, so that the reader sees frames in parts."""

    def __init__(self, inner: trio.SocketStream, size: int) -> None:
        self._inner = inner
        self._size = size

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = bytes(data)
        for i in range(0, len(view), self._size):
            await self._inner.send_all(view[i : i + self._size])

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.parametrize(("pad", "piece"), [(0, 1), (200, 3), (70_000, 999)])
async def test_frames_of_all_length_forms_in_pieces(pad: int, piece: int) -> None:
    async def padded(ws: WebSocketConnection, text: str) -> None:
        await ws.send_message('{"pad":"' + "x" * pad + '",' + text[1:])

    hub = ws_naive.Hub(padded)

    async def serve_chopped(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as inside:
            await hub.serve_subscriber(await wrap_server_stream(inside, Chopped(stream, piece)))

    async with websockets(hub) as server, trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, serve_chopped, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        server["port"] = listeners[0].socket.getsockname()[1]
        result = await load("fanout", server, rounds=2)
        nursery.cancel_scope.cancel()
    assert [r["got"] for r in result["rounds"]] == [CONNECTIONS] * 2
    assert result["faults"] == 0


async def test_idle_holds_what_it_opened() -> None:
    hub = ws_naive.Hub()
    async with websockets(hub) as server:
        result = await load("idle", server, warm=2, seconds=0.1)
    assert (result["connections"], result["still_up"]) == (CONNECTIONS, CONNECTIONS + 2)


async def test_idle_sees_connections_that_the_server_closes() -> None:
    served = closed = 0
    hub = ws_naive.Hub()

    async def close_three(stream: trio.SocketStream) -> None:
        nonlocal served, closed
        served += 1
        short = served <= 3
        async with trio.open_nursery() as inside:
            request = await wrap_server_stream(inside, stream)
            if not short:
                await hub.serve_subscriber(request)
                return
            ws = await request.accept()
            await ws.send_message('{"type":"hello"}')
            await ws.aclose()  # until the other side has closed as well
            closed += 1

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, close_three, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        command = generator.arguments(
            "idle", port=port, connections=CONNECTIONS, settle=0, timeout=300, warm=0, hold=True
        )
        idle = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert idle.stdin is not None
        assert idle.stdout is not None
        await until(lambda: closed == 3 and len(hub.subscribers) == CONNECTIONS - 3)
        await idle.stdin.aclose()
        said = b"".join([bytes(piece) async for piece in idle.stdout])
        await idle.stdout.aclose()
        await idle.wait()
        nursery.cancel_scope.cancel()
    result = generator.parse("idle", said)
    assert (result["connections"], result["still_up"]) == (CONNECTIONS, CONNECTIONS - 3)


# ---- HTTP ----


async def test_polls_are_held_and_all_answered(tmp_path: Path) -> None:
    async with quart(tmp_path) as server:
        result = await load("polls", server, rounds=2)
    assert [(r["held"], r["answered"]) for r in result["rounds"]] == [(CONNECTIONS,) * 2] * 2
    assert (result["refused"], result["lost"], result["empty"]) == (0, 0, 0)


async def test_polls_that_get_nothing_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quart_naive.Channel, "after", lambda self, seq, limit: [])
    async with quart(tmp_path) as server:
        result = await load("polls", server, rounds=1, round_timeout=4)
    assert result["rounds"][0]["answered"] == 0
    assert result["empty"] >= CONNECTIONS


async def test_pull_counts_answers_and_their_messages(tmp_path: Path) -> None:
    async with quart(tmp_path) as server:
        result = await load("pull", server, preload=4, seconds=2, depth=2)
    assert result["messages_each"] == 4
    assert result["answers"] > 0
    assert (result["refused"], result["lost"]) == (0, 0)
    assert 0 < result["latency_p50_s"] <= result["latency_p99_s"] <= result["latency_max_s"]


@pytest.mark.parametrize("rate", [0, 20])
async def test_publishes_acked_are_those_on_disk(tmp_path: Path, rate: int) -> None:
    async with quart(tmp_path) as server:
        result = await load("publish", server, seconds=2, rate=rate)
    db = sqlite3.connect(tmp_path / "naive.db")
    (stored,) = db.execute("SELECT count(*) FROM message").fetchone()
    db.close()
    assert result["sent"] == result["acked"] + result["acked_late"] == stored > 0
    assert not rate or stored <= 3 * rate  # two seconds at that rate, and some slack


async def test_publishes_refused_are_not_counted_as_acked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(quart_naive.Store, "insert", full)
    async with quart(tmp_path) as server:
        result = await load("publish", server, seconds=1)
    assert result["acked"] + result["acked_late"] == 0
    assert result["refused"] == result["sent"] > 0


# ---- the storm ----

READERS = CONNECTIONS - 2


async def storm(directory: Path, **options: object) -> dict[str, Any]:
    async with quart(directory) as server:
        return await load("storm", server, muted=2, publishers=4, rate=50, seconds=2, **options)


async def test_storm_counts_every_message_of_every_reader(tmp_path: Path) -> None:
    result = await storm(tmp_path)
    assert result["records"] == result["expected"] == READERS * result["acked"] > 0
    assert result["acked"] == result["sent"]
    for name in ("gaps", "repeats", "malformed", "incomplete", "never_told", "refused"):
        assert result[name] == 0, name
    assert (result["readers_left"], result["muted_left"]) == (0, 0)
    assert 0 < result["pulled_p50_s"] <= result["pulled_p99_s"] <= result["pulled_max_s"]


async def test_storm_sees_a_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = quart_naive.Channel.after

    def without_five(self: quart_naive.Channel, seq: int, limit: int) -> list[dict[str, Any]]:
        return [message for message in after(self, seq, limit) if message["seq"] != 5]

    monkeypatch.setattr(quart_naive.Channel, "after", without_five)
    result = await storm(tmp_path)
    assert result["gaps"] == READERS
    assert result["records"] == result["expected"] - READERS


async def test_storm_sees_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = quart_naive.Channel.after

    def twice(self: quart_naive.Channel, seq: int, limit: int) -> list[dict[str, Any]]:
        return [message for message in after(self, seq, limit) for _ in range(2)]

    monkeypatch.setattr(quart_naive.Channel, "after", twice)
    result = await storm(tmp_path)
    assert result["repeats"] == result["expected"]


async def test_storm_sees_hints_that_never_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = quart_naive.Channel.add

    def silent_from_five(self: quart_naive.Channel, message: dict[str, Any]) -> None:
        if message["seq"] < 5:
            add(self, message)
        else:
            self.seq = message["seq"]
            self.messages.append(message)

    monkeypatch.setattr(quart_naive.Channel, "add", silent_from_five)
    result = await storm(tmp_path, round_timeout=10)
    assert result["never_told"] == READERS
    assert result["incomplete"] == 0  # the pull at the end finds them all
