"""A log with something of everything, for the tools; and what can be read of one."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from pushd.core.positions import Cursor
from pushd.log import Log
from pushd.log.store import DATABASE
from tests.log.support import answer, append, entry, opened


async def fill(directory: Path) -> None:
    """Channels that were trimmed, deleted, redacted, begun anew; marks; ids; revocations."""
    async with opened(directory) as log:
        await fill_log(log)


async def fill_log(log: Log) -> None:
    for number in range(20):
        await append(log, entry("news", {"n": number}, id=f"news-{number}"))
        await append(log, entry("user:alice", [number, "é\u2028"], type="chat", sender="bob"))
    await append(log, *(entry(f"many:{number}", number) for number in range(30)))
    await append(log, entry("gone", 1, id="gone-1"), entry("again", 1, id="again-1"))
    await answer(lambda done: log.trim("news", 6, done))
    await answer(lambda done: log.redact("news", 8, done))
    await answer(lambda done: log.delete("gone", done))
    await answer(lambda done: log.delete("again", done))
    await append(log, entry("again", 2, id="again-2"))
    for group, add in {"staff": ["alice", "bob"], "gone": ["alice"], "new": ["carl"]}.items():
        await answer(partial(log.change_members, group, add, []))
    await answer(partial(log.change_members, "staff", [], ["bob"]))
    await answer(partial(log.delete_group, "gone"))
    until = time.time() + 3600
    await answer(lambda done: log.revoke("user", "mallory", until, done))
    log.record_delivered("alice", "phone", "news", Cursor(log.heads["news"].epoch, 15))
    log.record_read("alice", "news", Cursor(log.heads["news"].epoch, 12))
    log.record_seen("alice")


def rows(file: Path, sql: str) -> list[Any]:
    """Of a database that nobody uses, leaving nothing beside it."""
    uri = f"{file.absolute().as_uri()}?immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(sql).fetchall()


def change(file: Path, *statements: str) -> None:
    """As nobody should."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for sql in statements:
            connection.execute(sql)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def epochs(directory: Path) -> dict[str, str]:
    sql = "SELECT name, epoch FROM channels WHERE epoch IS NOT NULL"
    return dict(rows(directory / DATABASE, sql))


def fingerprint(directory: Path) -> dict[str, tuple[str, int, int]]:
    """What a tool that only reads must leave as it was."""
    found = {}
    for path in sorted(directory.rglob("*")):
        state = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content).hexdigest()
        found[str(path.relative_to(directory))] = (digest, state.st_mtime_ns, state.st_mode)
    return found


def nothing(_what: str, _done: int, _total: int) -> None:
    """No progress is shown."""
