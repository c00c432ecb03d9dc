"""What must hold in a database between any two commits, said in SQL."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from pushd.log import Head, Log
from pushd.log.requests import MESSAGE_OVERHEAD
from pushd.log.startup import _load_heads
from pushd.log.store import connect_reader

# Each finds nothing in a sound database.
BROKEN = {
    "a retained message is missing": """
        SELECT name FROM channels AS c WHERE epoch IS NOT NULL AND head - first + 1 != (
            SELECT count(*) FROM messages AS m
            WHERE m.log_id = c.log_id AND seq BETWEEN first AND head)""",
    "a message lies beyond the head": """
        SELECT name, seq FROM channels AS c JOIN messages AS m ON m.log_id = c.log_id
        WHERE seq > head""",
    "a message that nobody can read, nor will sweep": """
        SELECT m.log_id, seq FROM messages AS m
        LEFT JOIN channels AS c ON c.log_id = m.log_id
        LEFT JOIN garbage AS g ON g.log_id = m.log_id
        WHERE (c.id IS NULL OR seq < first) AND (upto IS NULL OR seq > upto)""",
    "a message that can be read and will be swept": """
        SELECT name, upto FROM garbage AS g JOIN channels AS c ON c.log_id = g.log_id
        WHERE upto >= first""",
    "bytes are not those of the messages": f"""
        SELECT name, bytes, found FROM (
            SELECT name, bytes, (SELECT coalesce(sum(length(data) + {MESSAGE_OVERHEAD}), 0)
                                 FROM messages AS m WHERE m.log_id = c.log_id) AS found
            FROM channels AS c) WHERE bytes != found""",
    "first_at is not that of the first message": """
        SELECT name, first_at, at FROM channels AS c
        JOIN messages AS m ON m.log_id = c.log_id AND seq = first WHERE at != first_at""",
    "a life is half deleted": """
        SELECT name FROM channels WHERE (epoch IS NULL) != (log_id IS NULL)
        OR (epoch IS NULL) != (deleted_at IS NOT NULL)""",
    "a window that cannot be": """
        SELECT name FROM channels WHERE first < 1 OR first > head + 1
        OR (epoch IS NULL AND (head, first) != (0, 1))""",
    "an id was not given out": """
        SELECT id, log_id FROM channels, meta WHERE key = 'last_id'
        AND (id > CAST(value AS INTEGER) OR log_id > CAST(value AS INTEGER))""",
    "a log id is used twice": """
        SELECT log_id FROM channels WHERE log_id IS NOT NULL GROUP BY log_id HAVING count(*) > 1""",
    "an epoch is newer than the last": """
        SELECT epoch, value FROM channels, meta WHERE key = 'last_epoch' AND epoch > value""",
    "a mark of a device that is not noted": """
        SELECT user, device FROM cursors EXCEPT SELECT user, device FROM devices""",
    "a mark of no channel": """
        SELECT user, channel_id FROM (SELECT user, channel_id FROM cursors
        UNION ALL SELECT user, channel_id FROM reads)
        WHERE channel_id NOT IN (SELECT id FROM channels)""",
    "a member of no group": """
        SELECT user FROM members WHERE group_id NOT IN (SELECT id FROM groups)""",
    "a group of nobody": """
        SELECT name FROM groups AS g WHERE name IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM members WHERE group_id = g.id)""",
    "somebody has joined ahead of the group's channel": """
        SELECT user FROM members AS m JOIN groups AS g ON g.id = m.group_id
        JOIN channels AS c ON c.name = 'group:' || g.name
        WHERE m.epoch > c.epoch OR (m.epoch = c.epoch AND m.seq > c.head)""",
    "an id used in no channel": """
        SELECT channel_id, id FROM idempotency WHERE channel_id NOT IN (SELECT id FROM channels)""",
}


def check_heads(log: Log) -> None:
    """What the loop knows is what a start would load. Of a log that has told all it has done."""
    with closing(connect_reader(log.directory)) as connection:
        stored = _load_heads(connection)
    assert {name: _state(head) for name, head in log.heads.items()} == {
        name: _state(head) for name, head in stored.items()
    }


def _state(head: Head) -> dict[str, object]:
    """All but what is counted, or looked up, since the start."""
    counted = {"added", "ladders", "redactions", "watched"}
    return {name: getattr(head, name) for name in Head.__slots__ if name not in counted}


def check(directory: Path) -> None:
    """In one snapshot, also while the log runs."""
    with closing(connect_reader(directory)) as connection:
        connection.execute("BEGIN")
        wrong = {what: connection.execute(sql).fetchall() for what, sql in BROKEN.items()}
    assert {what: rows[:5] for what, rows in wrong.items() if rows} == {}
