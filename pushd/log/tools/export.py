"""Every retained message as a line of JSON, in the order in which they were stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from pushd.core.messages import DEFAULT_TYPE, message_id
from pushd.log.tools.copying import Progress
from pushd.log.tools.form import number
from pushd.log.tools.source import explained, opened

_AT_ONCE: Final = 1_000
_CHANNELS: Final = "SELECT log_id, name, epoch, first, head FROM channels WHERE epoch IS NOT NULL"
_MESSAGES: Final = "SELECT log_id, seq, at, type, sender, id, data FROM messages ORDER BY rowid"
_LINE: Final = b'{"channel":%b,"epoch":"%b","seq":%d,"at":%d,"id":%b,"type":%b%b,"data":%b}\n'
_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")

_encode = msgspec.json.Encoder().encode


def export(path: Path, wanted: Callable[[str], bool], progress: Progress) -> Iterator[bytes]:
    """Lines of the channels that are ``wanted``, each with its end. Raises NotALog.

    All of one moment: as long as it is read on, the log of a running server cannot be tidied.
    """
    with opened(path) as source:
        try:
            yield from _lines(source.connection, wanted, progress)
        except sqlite3.Error as error:
            raise explained(path, error) from error


def _lines(
    connection: sqlite3.Connection, wanted: Callable[[str], bool], progress: Progress
) -> Iterator[bytes]:
    channels = {
        log_id: (_encode(name), epoch, first, head)
        for log_id, name, epoch, first, head in connection.execute(_CHANNELS)
        if wanted(name)
    }
    total = number(connection, "SELECT sum(head - first + 1) FROM channels")
    cursor = connection.execute(_MESSAGES)
    done = 0
    while rows := cursor.fetchmany(_AT_ONCE):
        for log_id, seq, at, type_, sender, id_, data in rows:
            channel = channels.get(log_id)
            # Cut already, and waiting to be swept: nobody can pull it any more.
            if channel is None or not channel[2] <= seq <= channel[3]:
                continue
            name, epoch = channel[:2]
            by = b"" if sender is None else b',"sender":' + _encode(sender)
            yield _LINE % (
                name,
                epoch.encode(),
                seq,
                at,
                _encode(message_id(epoch, seq, id_)),
                _encode(type_ or DEFAULT_TYPE),
                by,
                # Line ends stand between values only: within strings JSON does not allow them.
                data.translate(_SPACES),
            )
        done += len(rows)
        progress("exported", min(done, total), total)
