"""What must hold in a log, beyond what SQLite checks: no holes, no orphans, marks that can be."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Final

from pushd.core.messages import DEFAULT_TYPE, Draft
from pushd.core.names import check_channel, check_group
from pushd.errors import BadRequest
from pushd.log.drafts import digest_of
from pushd.log.ledger import REDACTED
from pushd.log.tools.content import Content
from pushd.log.tools.form import meta, number, value

_EPOCH: Final = re.compile(r"[0-9a-z]{9}")
_LIVE: Final = (
    "SELECT id, name, log_id, epoch, head, first, last_at, bytes, first_at FROM channels"
    " WHERE epoch IS NOT NULL ORDER BY id"
)
_TOMBSTONES: Final = "SELECT name, log_id, deleted_at FROM channels WHERE epoch IS NULL ORDER BY id"
_RETAINED: Final = "SELECT count(*) FROM messages WHERE log_id = ? AND seq BETWEEN ? AND ?"
_BEYOND: Final = "SELECT max(seq) FROM messages WHERE log_id = ? AND seq > ?"
_OLDEST: Final = "SELECT min(seq) FROM messages WHERE log_id = ?"
_UPTO: Final = "SELECT upto FROM garbage WHERE log_id = ?"
_AT: Final = "SELECT at FROM messages WHERE log_id = ? AND seq = ?"
# The first retained seq without a message: follows one whose successor is missing.
_HOLE: Final = (
    "SELECT min(missing) FROM (SELECT :first AS missing UNION ALL SELECT seq + 1 FROM messages"
    " WHERE log_id = :log_id AND seq >= :first AND seq < :head) AS wanted WHERE NOT EXISTS"
    " (SELECT 1 FROM messages WHERE log_id = :log_id AND seq = wanted.missing)"
)
# From one log id to the next, without looking at the messages between.
_LOG_IDS: Final = (
    "WITH RECURSIVE found (log_id) AS (SELECT min(log_id) FROM messages UNION ALL"
    " SELECT (SELECT min(log_id) FROM messages WHERE log_id > found.log_id) FROM found"
    " WHERE found.log_id IS NOT NULL)"
    " SELECT log_id FROM found WHERE log_id IS NOT NULL AND log_id NOT IN"
    " (SELECT log_id FROM channels WHERE log_id IS NOT NULL)"
)
_NEWEST: Final = "SELECT max(seq) FROM messages WHERE log_id = ?"
_LAST_ID: Final = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_id'"
_MARKS: Final = {
    "cursors": "delivered marks",
    "reads": "read marks",
}
_MARKS_OF_NOBODY: Final = (
    "SELECT count(*) FROM {table} WHERE channel_id NOT IN (SELECT id FROM channels)"
)
_MARKS_AHEAD: Final = (
    "SELECT count(*) FROM {table} AS m JOIN channels AS c ON c.id = m.channel_id"
    " WHERE m.epoch > c.epoch OR (m.epoch = c.epoch AND m.seq > c.head)"
)
_IDS_OF_NOBODY: Final = (
    "SELECT count(*) FROM idempotency WHERE channel_id NOT IN (SELECT id FROM channels)"
)
_USED: Final = (
    "SELECT c.name, i.seq, i.id, i.digest, m.id, m.type, m.sender, m.data FROM idempotency AS i"
    " JOIN channels AS c ON c.id = i.channel_id AND c.epoch = i.epoch"
    " LEFT JOIN messages AS m ON m.log_id = c.log_id AND m.seq = i.seq"
    " WHERE i.seq >= c.first"
)

_GROUPS: Final = "SELECT name FROM groups WHERE name IS NOT NULL ORDER BY name"
_NOBODY_IN: Final = (
    "SELECT name FROM groups WHERE name IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM members WHERE group_id = groups.id)"
)
_MEMBERS_OF_NOTHING: Final = (
    "SELECT count(*) FROM members WHERE group_id NOT IN (SELECT id FROM groups)"
)
_JOINED_AHEAD: Final = (
    "SELECT count(*) FROM members AS m JOIN groups AS g ON g.id = m.group_id"
    " JOIN channels AS c ON c.name = 'group:' || g.name"
    " WHERE m.epoch > c.epoch OR (m.epoch = c.epoch AND m.seq > c.head)"
)

Say = Callable[[str], None]


def of_sqlite(connection: sqlite3.Connection, say: Say, *, quick: bool) -> None:
    """Pages, trees and indexes. It reads the whole file."""
    pragma = "quick_check" if quick else "integrity_check"
    for (line,) in connection.execute(f"PRAGMA {pragma}(20)"):
        if line != "ok":
            say(f"SQLite: {line}")


def of_channels(connection: sqlite3.Connection, say: Say, progress: Callable[[int], None]) -> None:
    """Each has what is between its first and its head, and nothing that was not given out."""
    last_epoch = meta(connection, "last_epoch") or ""
    last_id = number(connection, _LAST_ID)
    for done, row in enumerate(connection.execute(_LIVE)):
        id_, name, log_id, epoch = row[:4]
        if log_id is None:
            say(f"channel {name}: it has an epoch, but no messages of its own")
            continue
        for problem in (*_identity(name, epoch, last_epoch), *_messages(connection, *row[2:])):
            say(f"channel {name}: {problem}")
        if max(id_, log_id) > last_id:
            say(f"channel {name}: its id {max(id_, log_id)} is beyond the last one, {last_id}")
        if done % 100 == 0:
            progress(done)
    for name, log_id, deleted_at in connection.execute(_TOMBSTONES):
        if log_id is not None or deleted_at is None:
            say(f"channel {name}: deleted, but only in part")


def _identity(name: str, epoch: str, last_epoch: str) -> Iterator[str]:
    try:
        check_channel(name)
    except BadRequest as error:
        yield f"the name is not allowed ({error.detail})"
    if not _EPOCH.fullmatch(epoch):
        yield f"{epoch!r} is no epoch"
    elif epoch > last_epoch:
        yield f"its epoch {epoch} is later than the last one given out, {last_epoch or 'none'}"


def _messages(
    connection: sqlite3.Connection,
    log_id: int,
    _epoch: str,
    head: int,
    first: int,
    last_at: int,
    _bytes: int,
    first_at: int,
) -> Iterator[str]:
    if not 1 <= first <= head + 1:
        yield f"first {first} does not fit to head {head}"
        return
    retained = number(connection, _RETAINED, log_id, first, head)
    if retained != head - first + 1:
        hole = _first_hole(connection, log_id, first, head)
        yield f"{head - first + 1 - retained} of {first}…{head} are missing, the first is {hole}"
    if beyond := number(connection, _BEYOND, log_id, head):
        yield f"a message {beyond} lies beyond its head {head}"
    oldest = value(connection, _OLDEST, log_id)
    is_cut = isinstance(oldest, int) and oldest < first
    if is_cut and number(connection, _UPTO, log_id) < first - 1:
        yield f"messages from {oldest} to {first - 1} were cut and are swept by nobody"
    if retained and first <= head:
        if number(connection, _AT, log_id, first) != first_at:
            yield f"the time of its first message is not {first_at}"
        if number(connection, _AT, log_id, head) > last_at:
            yield "its newest message is later than its time"


def _first_hole(connection: sqlite3.Connection, log_id: int, first: int, head: int) -> int:
    """The first seq that is missing."""
    window = {"log_id": log_id, "first": first, "head": head}
    (found,) = connection.execute(_HOLE, window).fetchone()
    return int(found or 0)


def of_orphans(connection: sqlite3.Connection, say: Say) -> None:
    """Messages of no channel, unless they wait to be swept."""
    for (log_id,) in connection.execute(_LOG_IDS):
        newest = number(connection, _NEWEST, log_id)
        if number(connection, _UPTO, log_id) < newest:
            count = number(connection, "SELECT count(*) FROM messages WHERE log_id = ?", log_id)
            say(f"{count} messages (log id {log_id}) belong to no channel")


def of_marks(connection: sqlite3.Connection, say: Say) -> None:
    """Marks belong to channels, and are not ahead of them."""
    for table, words in _MARKS.items():
        if count := number(connection, _MARKS_OF_NOBODY.format(table=table)):
            say(f"{count} {words} belong to no channel")
        if count := number(connection, _MARKS_AHEAD.format(table=table)):
            say(f"{count} {words} are ahead of their channel")


def of_members(connection: sqlite3.Connection, say: Say) -> None:
    """Members belong to groups, groups have members, and nobody has joined in the future."""
    for (name,) in connection.execute(_GROUPS):
        try:
            check_group(name)
        except BadRequest as error:
            say(f"group {name}: the name is not allowed ({error.detail})")
    for (name,) in connection.execute(_NOBODY_IN):
        say(f"group {name}: it has no members")
    if count := number(connection, _MEMBERS_OF_NOTHING):
        say(f"{count} members belong to no group")
    if count := number(connection, _JOINED_AHEAD):
        say(f"{count} members have joined ahead of their group's channel")


def of_ids(connection: sqlite3.Connection, say: Say, progress: Callable[[int], None]) -> None:
    """What a retry is compared with must be what was stored."""
    if count := number(connection, _IDS_OF_NOBODY):
        say(f"{count} ids belong to no channel")
    if count := number(connection, "SELECT count(*) FROM idempotency WHERE length(digest) != 16"):
        say(f"{count} ids have no proper digest")
    for done, row in enumerate(connection.execute(_USED)):
        name, seq, id_, digest, stored_id, type_, sender, data = row
        if data is None:
            say(f"channel {name}: id {id_!r} names message {seq}, which is not there")
        elif stored_id != id_:
            say(f"channel {name}: id {id_!r} names message {seq}, which has another")
        elif type_ != REDACTED and digest != digest_of(
            Draft(data, type_ or DEFAULT_TYPE, id_, sender)
        ):
            say(f"channel {name}: message {seq} is not what was stored with its id {id_!r}")
        if done % 1000 == 0:
            progress(done)


def of_content(connection: sqlite3.Connection, content: Content, say: Say) -> None:
    """Messages are JSON, and a channel counts the bytes that it has."""
    named = dict(connection.execute("SELECT log_id, name FROM channels WHERE log_id IS NOT NULL"))
    for log_id, seq in content.bad:
        say(f"channel {named.get(log_id, '(deleted)')}: message {seq} is not JSON")
    if content.bad_count > len(content.bad):
        say(f"{content.bad_count - len(content.bad)} more messages are not JSON")
    counted = "SELECT name, log_id, bytes FROM channels WHERE log_id IS NOT NULL"
    for name, log_id, size in connection.execute(counted):
        found = content.bytes.get(log_id, 0)
        if found != size:
            say(f"channel {name}: counted as {size} bytes, which are {found}")
