"""What is known of channels that are trimmed, redacted and deleted while they are pulled.

Every answer is held against what had been acknowledged before it was asked for: an answer may be
of any later state, but of one state, whole, and never of an earlier one.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Key = tuple[str, str, int]  # channel, epoch, seq


class Asked(NamedTuple):
    """What had been acknowledged when a request was sent: how many changes, the firsts."""

    tick: int
    firsts: dict[str, tuple[str, int]]


@dataclass
class Truth:
    """``counts``: what the answers were, so that a test can say that all kinds came."""

    published: dict[Key, int] = field(default_factory=dict)
    seen: dict[Key, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    cursors: dict[str, deque[str]] = field(default_factory=dict)  # given out not long ago
    _tick: int = 0
    _firsts: dict[str, tuple[str, int]] = field(default_factory=dict)
    _deleted: dict[tuple[str, str], int] = field(default_factory=dict)
    _redacted: dict[Key, int] = field(default_factory=dict)

    # -- what administrators were told

    def trimmed(self, channel: str, epoch: str, first: int) -> None:
        self._tick += 1
        self._firsts[channel] = epoch, first

    def deleted(self, channel: str, epoch: str) -> None:
        self._tick += 1
        self._deleted[channel, epoch] = self._tick

    def redacted(self, channel: str, epoch: str, seq: int) -> None:
        self._tick += 1
        self._redacted[channel, epoch, seq] = self._tick

    # -- what clients are told

    def asked(self) -> Asked:
        return Asked(self._tick, dict(self._firsts))

    def check(self, channel: str, cursor: str, limit: int, entry: Any, asked: Asked) -> str:
        """The cursor to go on from. ``entry``: the object of one channel, or its reset."""
        self._check_state(channel, entry, asked)
        if "code" in entry:
            follows = self._check_reset(cursor, entry)
        else:
            follows = self._check_slice(channel, cursor, limit, entry, asked)
        self.cursors.setdefault(channel, deque(maxlen=300)).append(follows)
        return follows

    def check_history(self, channel: str, last: int, entry: Any, asked: Asked) -> None:
        """The newest messages, up to ``last`` of them."""
        self._check_state(channel, entry, asked)
        first, head, messages = entry["first"], entry["head"], entry["messages"]
        seqs = [message["seq"] for message in messages]
        if seqs:  # it may have moved since they were read
            assert head >= seqs[-1]
            assert seqs == list(range(seqs[0], seqs[-1] + 1))
            assert first <= seqs[0]
        assert len(seqs) <= last
        assert entry["more"] == (bool(seqs) and seqs[0] > first)
        for message in messages:
            self._check_message((channel, entry["epoch"], message["seq"]), message, asked)

    def _check_state(self, channel: str, entry: Any, asked: Asked) -> None:
        """Not of a state that had ended before."""
        epoch, first = asked.firsts.get(channel, ("", 0))
        assert entry["epoch"] != epoch or entry["first"] >= first, "what was trimmed is still told"
        ended = self._deleted.get((channel, entry["epoch"]))
        assert ended is None or ended > asked.tick, "a deleted life is still told"

    def _check_reset(self, cursor: str, reset: Any) -> str:
        assert cursor not in ("0", "head"), "these are always good"
        epoch, _, seq = cursor.partition(".")
        self.counts[reset["code"]] += 1
        assert reset["resume"] == f"{reset['epoch']}.{reset['first'] - 1}"
        if reset["code"] == "epoch_changed":
            # none.0 is bound to the life that it meets. That may end before the answer is made,
            # and then another has begun, or none.
            assert epoch != reset["epoch"] or epoch == "none"
        else:
            assert reset["code"] == "expired"
            assert epoch in ("none", reset["epoch"])
            assert int(seq) < reset["first"] - 1, "a complete answer was possible"
            assert reset["skipped"] == reset["first"] - 1 - int(seq)
        return str(reset["resume"])

    def _check_slice(self, channel: str, cursor: str, limit: int, entry: Any, asked: Asked) -> str:
        epoch, head, messages = entry["epoch"], entry["head"], entry["messages"]
        after = self._after(cursor, entry)
        assert entry["first"] <= after + 1, "a silent hole"
        seqs = [message["seq"] for message in messages]
        assert seqs == list(range(after + 1, after + 1 + len(seqs)))
        assert entry["next"] == f"{epoch}.{after + len(seqs)}"
        assert entry["more"] == (after + len(seqs) < head)
        if seqs or not entry["more"]:
            assert len(seqs) == min(limit, head - after), "not all that the head promises"
        # One that changes again and again while it is read is put off, with a word that says so.
        self.counts["messages" if seqs else "put off" if entry["more"] else "empty"] += 1
        for message in messages:
            self._check_message((channel, epoch, message["seq"]), message, asked)
        return str(entry["next"])

    def _after(self, cursor: str, entry: Any) -> int:
        if cursor == "0":
            return int(entry["first"]) - 1
        epoch, _, seq = cursor.partition(".")
        assert epoch in ("none", entry["epoch"]), "another life without a word"
        return int(seq)

    def _check_message(self, key: Key, message: Any, asked: Asked) -> None:
        if message["type"] == "redacted":
            assert message["data"] is None
            self.counts["redacted"] += 1
            return
        redacted = self._redacted.get(key)
        assert redacted is None or redacted > asked.tick, "what was redacted is still told"
        assert self.seen.setdefault(key, message["data"]) == message["data"]

    def check_all(self) -> None:
        """Nothing was told that nobody had published."""
        assert self.seen.items() <= self.published.items()
