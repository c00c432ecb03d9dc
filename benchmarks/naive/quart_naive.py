"""Publish, pull and long-poll in Quart-Trio on Hypercorn, with SQLite committed per request.

A publish is inserted and committed (WAL, synchronous=FULL) in a thread, then kept in memory and
announced with one ``trio.Event`` per channel. A pull looks into memory; with ``wait`` it is held.
A WebSocket is told the newest number.
Prints ``ready`` once it listens.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import Response, jsonify, request, websocket
from quart_trio import QuartTrio

EPOCH = "0naive000"
WINDOW = 10_000
"""Messages of a channel that are kept in memory."""


class Channel:
    def __init__(self) -> None:
        self.seq = 0
        self.messages: list[dict[str, Any]] = []
        self.changed = trio.Event()

    def add(self, message: dict[str, Any]) -> None:
        self.seq = message["seq"]
        self.messages.append(message)
        del self.messages[:-WINDOW]
        self.changed.set()
        self.changed = trio.Event()

    def after(self, seq: int, limit: int) -> list[dict[str, Any]]:
        skip = len(self.messages) - (self.seq - seq)
        return self.messages[max(skip, 0) :][:limit]


class Store:
    """One SQLite connection, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS message"
            " (channel TEXT, seq INTEGER, at INTEGER, data TEXT, PRIMARY KEY (channel, seq))"
        )

    def insert(self, channel: str, seq: int, at: int, data: str) -> None:
        with self._db:
            self._db.execute("INSERT INTO message VALUES (?, ?, ?, ?)", (channel, seq, at, data))

    def close(self) -> None:
        self._db.close()


def make_app(store: Store) -> QuartTrio:
    app = QuartTrio(__name__)
    channels: dict[str, Channel] = {}
    lock = trio.Lock()

    @app.post("/v1/channels/<name>/messages")
    async def publish(name: str) -> tuple[Response, int]:
        data = (await request.get_json())["data"]
        async with lock:
            channel = channels.setdefault(name, Channel())
            at = int(time.time() * 1000)
            seq = channel.seq + 1
            await trio.to_thread.run_sync(store.insert, name, seq, at, app.json.dumps(data))
            channel.add(
                {"seq": seq, "id": f"{EPOCH}.{seq}", "type": "message", "at": at, "data": data}
            )
        return jsonify(channel=name, epoch=EPOCH, seq=seq, id=f"{EPOCH}.{seq}", at=at), 201

    @app.get("/v1/channels/<name>/messages")
    async def pull(name: str) -> Response:
        after = int(request.args["after"].rpartition(".")[2])
        limit = int(request.args.get("limit", 100))
        channel = channels.setdefault(name, Channel())
        if channel.seq <= after:
            with trio.move_on_after(float(request.args.get("wait", 0))):
                await channel.changed.wait()
        messages = channel.after(after, limit)
        last = messages[-1]["seq"] if messages else after
        return jsonify(
            channel=name,
            epoch=EPOCH,
            first=1,
            head=channel.seq,
            next=f"{EPOCH}.{last}",
            more=last < channel.seq,
            messages=messages,
        )

    _serve_hints(app, channels)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    return app


def _serve_hints(app: QuartTrio, channels: dict[str, Channel]) -> None:
    @app.websocket("/v1/ws")
    async def hints() -> None:
        channel = channels.setdefault(websocket.args["channels"], Channel())
        sent = channel.seq
        await websocket.send(app.json.dumps({"type": "hello", "head": sent}))
        while True:
            if channel.seq == sent:
                await channel.changed.wait()
            sent = channel.seq
            await websocket.send(app.json.dumps({"type": "hint", "epoch": EPOCH, "seq": sent}))


async def serve(
    directory: Path,
    port: int = 0,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; starts with the addresses (port 0: any that is free)."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    # Long-lived connections, as anybody would set them who has thousands of clients.
    config.backlog = 4096
    config.keep_alive_timeout = 600
    config.keep_alive_max_requests = 10**9
    config.errorlog = None
    with closing(Store(directory / "naive.db")) as store:
        await hypercorn.trio.serve(make_app(store), config, task_status=task_status)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, args.data, args.port)
        print("ready", flush=True)


if __name__ == "__main__":
    trio.run(main)
