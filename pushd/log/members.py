"""Members of groups on disk: joining and leaving in one transaction, deletion, pages of them.

Each statement answers in one row, as lists in JSON: a thread that steps through ten thousand gives
up the interpreter ten thousand times, and publishes wait for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from pushd.core.positions import NO_EPOCH, Cursor
from pushd.groups import GROUP, Groups
from pushd.log.ledger import Ledger
from pushd.log.live import MembersChanged

_FIND: Final = "SELECT id FROM groups WHERE name = ?"
_CREATE: Final = "INSERT INTO groups (name) VALUES (?)"
_NEW: Final = (
    "SELECT json_group_array(value) FROM json_each(?) WHERE NOT EXISTS"
    " (SELECT 1 FROM members WHERE group_id = ? AND user = value)"
)
_ADD: Final = (
    "INSERT INTO members (group_id, user, at, epoch, seq)"
    " SELECT ?, value, ?, ?, ? FROM json_each(?)"
)
_THERE: Final = (
    "SELECT json_group_array(user) FROM members"
    " WHERE group_id = ? AND user IN (SELECT value FROM json_each(?))"
)
_REMOVE: Final = (
    "DELETE FROM members WHERE group_id = ? AND user IN (SELECT value FROM json_each(?))"
)
_IF_EMPTY: Final = (
    "DELETE FROM groups WHERE id = ?"
    " AND NOT EXISTS (SELECT 1 FROM members WHERE group_id = groups.id)"
)
_END: Final = "UPDATE groups SET name = NULL WHERE id = ?"
_GROUPS_OF: Final = (
    "SELECT g.id, g.name FROM members AS m JOIN groups AS g ON g.id = m.group_id"
    " WHERE m.user = ? AND g.name IS NOT NULL"
)
_LEAVE_ALL: Final = "DELETE FROM members WHERE user = ?"
_PAGE: Final = (
    "SELECT user, at, epoch, seq FROM members"
    " WHERE group_id = (SELECT id FROM groups WHERE name = ?) AND user > ? ORDER BY user LIMIT ?"
)
_OF_USER: Final = (
    "SELECT g.name, m.at, m.epoch, m.seq FROM members AS m JOIN groups AS g ON g.id = m.group_id"
    " WHERE m.user = ? AND g.name IN (SELECT value FROM json_each(?))"
)

_ENDED: Final = "SELECT id FROM groups WHERE name IS NULL LIMIT 1"
_SWEEP: Final = (
    "DELETE FROM members WHERE (group_id, user) IN"
    " (SELECT group_id, user FROM members WHERE group_id = ? LIMIT ?)"
)
_DROP: Final = "DELETE FROM groups WHERE id = ?"
_NAMED: Final = "SELECT id, name FROM groups WHERE name IS NOT NULL"
_ALL: Final = "SELECT user, epoch, seq FROM members WHERE group_id = ?"

Names = tuple[str, ...]


class Membership(NamedTuple):
    """``name``: of the user or of the group, whichever was not asked for. ``at``: ms since 1970.

    ``joined``: where the group's channel was then.
    """

    name: str
    at: int
    joined: Cursor


def change(ledger: Ledger, group: str, add: Names, remove: Names) -> MembersChanged:
    """Answers who has in fact joined and left. The two lists have nobody in common."""
    execute = ledger.connection.execute
    found = execute(_FIND, (group,)).fetchone()
    at = position(ledger, group)
    joined: Names = ()
    left: Names = ()
    if found is None and add:
        found = (execute(_CREATE, (group,)).lastrowid,)
    if found is not None and add:
        # Neighbours in the tree one after the other.
        joined = _list(execute(_NEW, (_json(sorted(add)), *found)))
        epoch = None if at.epoch == NO_EPOCH else at.epoch
        execute(_ADD, (*found, ledger.now_ms, epoch, at.seq, _json(joined)))
    if found is not None and remove:
        left = _list(execute(_THERE, (*found, _json(remove))))
        execute(_REMOVE, (*found, _json(left)))
        execute(_IF_EMPTY, found)
    changed = MembersChanged(group, joined, left, at)
    if joined or left:
        ledger.effects.append(changed)
    return changed


def end(ledger: Ledger, group: str) -> bool:
    """Nobody is a member any more; the rows go later, in slices. Whether there was such a group."""
    found = ledger.connection.execute(_FIND, (group,)).fetchone()
    if found is None:
        return False
    at = position(ledger, group)
    ledger.connection.execute(_END, found)
    ledger.effects.append(MembersChanged(group, (), (), at, deleted=True))
    ledger.left_members = True
    return True


def sweep(execute: Callable[..., sqlite3.Cursor], most: int) -> int | None:
    """Removes so many rows of a group that has ended; answers how many, None: there is none."""
    ended = execute(_ENDED).fetchone()
    if ended is None:
        return None
    count = execute(_SWEEP, (*ended, most)).rowcount
    if count < most:
        execute(_DROP, ended)
    return count


def leave_all(ledger: Ledger, user: str) -> list[str]:
    """The user is erased; answers the groups."""
    execute = ledger.connection.execute
    groups = execute(_GROUPS_OF, (user,)).fetchall()
    execute(_LEAVE_ALL, (user,))
    for id_, name in groups:
        execute(_IF_EMPTY, (id_,))
        ledger.effects.append(MembersChanged(name, (), (user,), position(ledger, name)))
    return [name for _, name in groups]


def load(connection: sqlite3.Connection) -> Groups:
    """At the start: everybody."""
    groups = Groups()
    same: dict[str, str] = {}  # one object for all mentions of a user
    for id_, name in connection.execute(_NAMED).fetchall():
        together: dict[tuple[str, int], list[str]] = {}
        for user, epoch, seq in connection.execute(_ALL, (id_,)).fetchall():
            together.setdefault((epoch or "", seq), []).append(same.setdefault(user, user))
        # Later epochs sort higher: what counts is the last.
        for epoch, seq in sorted(together):
            groups.add(name, together[epoch, seq], joined_at(epoch or None, seq))
    return groups


class ReadMembers:
    """A page of the members of a group, by name."""

    __slots__ = ("after", "done", "group", "limit")

    def __init__(self, group: str, after: str, limit: int, done: Callable[[Any], None]) -> None:
        self.group = group
        self.after = after
        self.limit = limit
        self.done = done

    def run(self, connection: sqlite3.Connection) -> list[Membership]:
        rows = connection.execute(_PAGE, (self.group, self.after, self.limit)).fetchall()
        return [Membership(user, at, joined_at(epoch, seq)) for user, at, epoch, seq in rows]


class ReadGroups:
    """Of these groups of a user when the user has joined, and where."""

    __slots__ = ("done", "groups", "user")

    def __init__(self, user: str, groups: list[str], done: Callable[[Any], None]) -> None:
        self.user = user
        self.groups = groups
        self.done = done

    def run(self, connection: sqlite3.Connection) -> list[Membership]:
        return groups_of(connection, self.user, self.groups)


def groups_of(connection: sqlite3.Connection, user: str, groups: list[str]) -> list[Membership]:
    """Those of the groups that the user is in."""
    rows = connection.execute(_OF_USER, (user, _json(groups))).fetchall()
    return [Membership(name, at, joined_at(epoch, seq)) for name, at, epoch, seq in rows]


def joined_at(epoch: str | None, seq: int) -> Cursor:
    """As it is stored; NULL: the channel had no life."""
    return Cursor(NO_EPOCH if epoch is None else epoch, seq)


def position(ledger: Ledger, group: str) -> Cursor:
    """Where the group's channel is, within this transaction."""
    channel = ledger.find(GROUP + group)
    return joined_at(None, 0) if channel is None else Cursor(channel.epoch, channel.head)


def _json(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()


def _list(found: sqlite3.Cursor) -> Names:
    return tuple(msgspec.json.decode(found.fetchone()[0], type=list[str]))
