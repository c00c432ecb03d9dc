"""What counts as unread: every kind of channel, life and mark."""

from __future__ import annotations

import pytest

from pushd.core.positions import START, Cursor
from pushd.core.pulling import UNWRITTEN, Position
from pushd.core.unread import unread

OLD, NOW = "0mhx3f9aa", "0mhx3f9ab"
FULL = Position(NOW, 1, 9)
TRIMMED = Position(NOW, 5, 9)
EMPTIED = Position(NOW, 10, 9)
INBOX, NAMED, ALL, GROUP, TOPIC = "user:alice", "user:alice:orders", "all", "group:g", "news"


@pytest.mark.parametrize(
    ("channel", "at", "read", "since", "expected"),
    [
        # Inboxes: from the start.
        (INBOX, UNWRITTEN, None, None, 0),
        (INBOX, FULL, None, None, 9),
        (NAMED, FULL, None, None, 9),
        (NAMED, TRIMMED, None, None, 5),
        (INBOX, EMPTIED, None, None, 0),
        (INBOX, FULL, Cursor(NOW, 4), None, 5),
        (INBOX, FULL, Cursor(NOW, 9), None, 0),
        (INBOX, TRIMMED, Cursor(NOW, 2), None, 5),
        (INBOX, TRIMMED, Cursor(NOW, 7), None, 2),
        (INBOX, FULL, Cursor(OLD, 7), None, 9),
        (INBOX, UNWRITTEN, Cursor(OLD, 7), None, 0),
        # A log that was put back by hand: never less than none.
        (INBOX, FULL, Cursor(NOW, 12), None, 0),
        (GROUP, FULL, None, None, None),
        (GROUP, FULL, Cursor(NOW, 7), None, None),
        (ALL, FULL, None, None, 0),
        (ALL, FULL, Cursor(NOW, 7), None, 2),
        # What everybody reads: from the first sight, or from joining.
        *[
            row
            for channel in (ALL, GROUP)
            for row in [
                (channel, FULL, None, Cursor(NOW, 6), 3),
                (channel, TRIMMED, None, Cursor(NOW, 2), 5),
                (channel, FULL, None, START, 9),
                (channel, FULL, None, Cursor(OLD, 6), 9),
                (channel, FULL, Cursor(NOW, 7), Cursor(NOW, 6), 2),
                (channel, FULL, Cursor(OLD, 7), Cursor(NOW, 6), 3),
                (channel, UNWRITTEN, None, START, 0),
            ]
        ],
        # Topics: from the first read mark on.
        (TOPIC, FULL, None, None, None),
        (TOPIC, UNWRITTEN, None, None, None),
        (TOPIC, FULL, Cursor(NOW, 7), None, 2),
        (TOPIC, FULL, Cursor(OLD, 7), None, 9),
        (TOPIC, EMPTIED, Cursor(NOW, 7), None, 0),
    ],
)
def test_unread(
    channel: str, at: Position, read: Cursor | None, since: Cursor | None, expected: int | None
) -> None:
    assert unread(channel, at, read, since) == expected
