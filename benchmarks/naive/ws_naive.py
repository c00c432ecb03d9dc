"""Fan-out with trio-websocket: ``await ws.send_message()`` to each subscriber, one after another.

WebSockets on one port, ``POST`` publishes over plain HTTP on another, all in one process.
Prints ``ready`` once both listen.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

EPOCH = "0naive000"
Send = Callable[[WebSocketConnection, str], Awaitable[None]]


async def send(ws: WebSocketConnection, text: str) -> None:
    await ws.send_message(text)


class Hub:
    """One channel: who listens, and how far it is. Messages live in memory only."""

    def __init__(self, send: Send = send) -> None:
        self.seq = 0
        self.subscribers: set[WebSocketConnection] = set()
        self._send = send

    async def publish(self) -> int:
        self.seq += 1
        hint = f'{{"type":"hint","channel":"bench","epoch":"{EPOCH}","seq":{self.seq}}}'
        for ws in list(self.subscribers):
            try:
                await self._send(ws, hint)
            except ConnectionClosed:
                self.subscribers.discard(ws)
        return self.seq

    async def serve_subscriber(self, request: WebSocketRequest) -> None:
        ws = await request.accept()
        # Before its hello: who has that may publish at once, and wants to hear of it.
        self.subscribers.add(ws)
        try:
            await ws.send_message(f'{{"type":"hello","heads":{{"bench":{{"head":{self.seq}}}}}}}')
            while True:
                await ws.get_message()  # heartbeats: nothing to answer
        except ConnectionClosed:
            pass
        finally:
            self.subscribers.discard(ws)

    async def serve_publisher(self, stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            while await read_request(stream):
                seq = await self.publish()
                answer = f'{{"epoch":"{EPOCH}","seq":{seq}}}'
                await stream.send_all(
                    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer.encode())
                )


async def read_request(stream: trio.SocketStream) -> bytes | None:
    """The next request's body, or None at the end of the connection. Just enough of HTTP."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lines[0].partition(b":")[2]) if lines else 0
    while len(body) < length:
        body += await stream.receive_some()
    return body


async def serve(
    hub: Hub,
    port: int,
    publish_port: int,
    *,
    task_status: trio.TaskStatus[tuple[int, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; starts with the two ports (0 as argument: any that is free)."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, hub.serve_subscriber, "127.0.0.1", port, None)
        )
        listeners = await nursery.start(
            partial(trio.serve_tcp, hub.serve_publisher, publish_port, host="127.0.0.1")
        )
        task_status.started((server.port, listeners[0].socket.getsockname()[1]))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--publish-port", type=int, required=True)
    args = parser.parse_args()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, Hub(), args.port, args.publish_port)
        print("ready", flush=True)


if __name__ == "__main__":
    trio.run(main)
