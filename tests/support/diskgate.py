"""Holds the log's one writer back just before it writes, or makes the write fail."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import trio

from pushd.log.store import Rows, Store
from tests.support.app import Server
from tests.support.http import patience

LONGEST_S = 60.0  # for a test that fails with the gate closed


class Gate:
    """While it is ``closed`` whatever would be written waits. ``error``: what the write says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: Exception | None = None
        self._open = threading.Event()
        self._open.set()
        self._arrived = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        write, transaction = Store.write, Store.transaction

        def gated_write(store: Store, rows: Rows) -> int:
            if rows.messages:
                self._pass()
            return write(store, rows)

        def gated_transaction(store: Store) -> AbstractContextManager[None]:
            self._pass()
            return transaction(store)

        monkeypatch.setattr(Store, "write", gated_write)
        monkeypatch.setattr(Store, "transaction", gated_transaction)

    def _pass(self) -> None:
        """On the writer's thread."""
        if not self._open.is_set():
            self._token.run_sync_soon(self._arrived.set)
            assert self._open.wait(LONGEST_S)
        if self.error is not None:
            raise self.error

    @contextmanager
    def closed(self) -> Iterator[None]:
        self._arrived = trio.Event()  # first: the writer's thread may pass at this very moment
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    async def arrived(self) -> None:
        """Somebody waits at the closed gate: all that comes before the write is done."""
        with patience():
            await self._arrived.wait()


def disk_full() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def on_disk(server: Server) -> int:
    """Messages of topics that another program finds in the file."""
    path: Path = server.hub.settings.data / "pushd.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (count,) = connection.execute("SELECT count(*) FROM messages").fetchone()
        return int(count)
    finally:
        connection.close()
