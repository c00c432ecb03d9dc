"""Reading backwards: the newest messages up to a seq, as many as fit."""

from __future__ import annotations

import sqlite3
from typing import Final

from pushd.core.messages import DEFAULT_TYPE, encode_message
from pushd.log.reader import Done
from pushd.log.requests import MissingMessages

_MESSAGES: Final = (
    "SELECT seq, at, type, sender, id, data FROM messages"
    " WHERE log_id = ? AND seq > ? AND seq <= ? ORDER BY seq DESC"
)


class ReadBack:
    """Seqs ``upto`` down to ``after + 1``, at least one, up to ``max_bytes``; given in order."""

    __slots__ = ("after", "done", "epoch", "log_id", "max_bytes", "upto")

    def __init__(
        self, log_id: int, epoch: str, after: int, upto: int, max_bytes: int, done: Done
    ) -> None:
        self.log_id = log_id
        self.epoch = epoch
        self.after = after
        self.upto = upto
        self.max_bytes = max_bytes
        self.done = done

    def run(self, connection: sqlite3.Connection) -> list[bytes]:
        rows = connection.execute(_MESSAGES, (self.log_id, self.after, self.upto))
        encoded: list[bytes] = []
        room = self.max_bytes
        expected = self.upto
        try:
            for seq, at, type_, sender, id_, data in rows:
                if seq != expected:
                    break
                message = encode_message(
                    seq, self.epoch, type_ or DEFAULT_TYPE, id_, sender, at, data
                )
                room -= len(message)
                if room < 0 and encoded:
                    break
                encoded.append(message)
                expected -= 1
        finally:
            # An open cursor is an open snapshot, which keeps the WAL from starting over.
            rows.close()
        if room >= 0 and expected > self.after:
            raise MissingMessages(f"Message {expected} of epoch {self.epoch} is not on disk.")
        encoded.reverse()
        return encoded
