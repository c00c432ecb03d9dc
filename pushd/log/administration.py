"""The side of the log that changes or asks about what is stored: trims, deletions, receipts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from pushd.core.positions import MAX_SEQ, Cursor
from pushd.core.pulling import Position
from pushd.errors import BadRequest, PushdError
from pushd.groups import Groups
from pushd.log.changes import (
    Delete,
    Discard,
    Erased,
    EraseUser,
    Redact,
    Request,
    Revoke,
    Trim,
    Unrevoke,
)
from pushd.log.groupchanges import ChangeMembers, DeleteGroup
from pushd.log.lags import Following, ReadDelivered
from pushd.log.live import Live, MembersChanged
from pushd.log.marks import MarkBuffer
from pushd.log.members import Membership, ReadGroups, ReadMembers
from pushd.log.notes import ReadNote, WriteNote
from pushd.log.reader import Job
from pushd.log.receipts import ReadReceipts, ReadUser, Receipts, UserMarks
from pushd.revocations import KINDS

# Some milliseconds of the writer's.
MOST_DISCARDED: Final = 100


class Administration:
    """Of a ``Log``. All that takes a ``done`` calls it later, on the loop, exactly once.

    The methods that change something raise NotReady, StorageBroken, Overloaded or BadRequest at
    once instead. What is changed holds as soon as ``done`` is called, also after a crash.
    """

    _live: Live
    _marks: MarkBuffer

    def _request(self, request: Request) -> None:
        raise NotImplementedError

    def _read(self, job: Job) -> None:
        raise NotImplementedError

    @property
    def revocations(self) -> dict[tuple[str, str], tuple[float, float]]:
        """(kind, value) to (at, until), Unix seconds. Look at ``until``: they leave some time
        after it."""
        return self._live.revocations

    def trim(
        self, channel: str, before: int, done: Callable[[Position | PushdError], None]
    ) -> None:
        """Forgets the messages older than seq ``before``; nothing when they are gone already.

        NotFound: no such channel. BadRequest: beyond head + 1 (which forgets all there is).
        """
        if not 0 <= before <= MAX_SEQ + 1:
            raise BadRequest("'before' must be a seq.")
        self._request(Trim(_text(channel), before, done))

    def delete(self, channel: str, done: Callable[[Position | PushdError], None]) -> None:
        """Ends this life of the channel; the next publish begins another, of a later epoch.

        Ids used not long ago stay used. Answers where the channel was. NotFound: no such channel.
        """
        self._request(Delete(_text(channel), done))

    def discard(self, channels: list[str], done: Callable[[int | PushdError], None]) -> None:
        """Deletes those that are there, at most ``MOST_DISCARDED``; answers how many they were.

        For channels that are never retried to: the ids that were used in them count no more.
        """
        if len(channels) > MOST_DISCARDED:
            raise BadRequest(f"At most {MOST_DISCARDED} channels at once.")
        self._request(Discard([_text(channel) for channel in channels], done))

    def redact(self, channel: str, seq: int, done: Callable[[Position | PushdError], None]) -> None:
        """Takes type and data from a message; its seq, id, sender and time stay.

        NotFound: no such channel, or the message is not retained.
        """
        self._request(Redact(_text(channel), seq, done))

    def erase_user(self, user: str, done: Callable[[Erased | PushdError], None]) -> None:
        """Deletes the user's inboxes, memberships, cursors, read marks and devices.

        Messages to other channels and revocations stay.
        """
        self._request(EraseUser(_text(user), self._marks.forget, done))

    @property
    def groups(self) -> Groups:
        """Who is a member of what; not to be changed but by ``change_members``."""
        return self._live.groups

    def change_members(
        self,
        group: str,
        add: Sequence[str],
        remove: Sequence[str],
        done: Callable[[MembersChanged | PushdError], None],
    ) -> None:
        """Adds and removes in one transaction; answers who has in fact joined and left.

        A group begins with its first member and ends with its last; its channel stays.
        BadRequest: somebody is in both lists.
        """
        joining, leaving = (tuple(dict.fromkeys(map(_text, each))) for each in (add, remove))
        if not set(joining).isdisjoint(leaving):
            raise BadRequest("Somebody is both to be added and to be removed.")
        self._request(ChangeMembers(_text(group), joining, leaving, done))

    def delete_group(self, group: str, done: Callable[[PushdError | None], None]) -> None:
        """Ends all memberships, and this life of the group's channel.

        NotFound: neither is there.
        """
        self._request(DeleteGroup(_text(group), done))

    def read_members(
        self,
        group: str,
        after: str,
        limit: int,
        done: Callable[[list[Membership] | PushdError], None],
    ) -> None:
        """Members by name, from the one that sorts after ``after``; at most ``limit``."""
        self._read(ReadMembers(_text(group), _text(after), limit, done))

    def read_groups(
        self, user: str, groups: list[str], done: Callable[[list[Membership] | PushdError], None]
    ) -> None:
        """Since when a user has been in those of the groups that the user is in."""
        self._read(ReadGroups(_text(user), groups, done))

    def revoke(
        self,
        kind: str,
        value: str,
        until_s: float,
        done: Callable[[tuple[float, float] | PushdError], None],
    ) -> None:
        """``kind``: 'user' or 'jti'. ``until_s``: Unix seconds. Answers (at, until).

        Whatever was revoked under the same name before is replaced.
        """
        if kind not in KINDS:
            raise BadRequest(f"Only {' or '.join(KINDS)} can be revoked.")
        if not (math.isfinite(until_s) and 0 <= until_s <= MAX_SEQ / 1000):
            raise BadRequest("'until' must be a time in seconds since 1970.")
        self._request(Revoke(kind, _text(value), until_s, done))

    def unrevoke(self, kind: str, value: str, done: Callable[[PushdError | None], None]) -> None:
        """NotFound: there is no such revocation."""
        self._request(Unrevoke(kind, _text(value), done))

    def write_note(self, name: str, text: str, done: Callable[[PushdError | None], None]) -> None:
        """Remembers ``text`` under ``name``, in place of what was there."""
        self._request(WriteNote(_text(name), _text(text), done))

    def read_note(self, name: str, done: Callable[[str | PushdError | None], None]) -> None:
        """What was remembered under ``name``, or None."""
        self._read(ReadNote(_text(name), done))

    def read_receipts(
        self,
        channel: str,
        seq: int,
        limit: int,
        after: str | None,
        done: Callable[[Receipts | PushdError], None],
    ) -> None:
        """Users who were given, or have read, message ``seq`` of the channel as it is now.

        Those whose id sorts after ``after``; a page may hold fewer than ``limit``, or none, and
        still have a ``next``. Marks that are not on disk yet are included. No channel: nobody.
        """
        self._read(
            ReadReceipts(self._marks, self._live.heads.get(channel), seq, limit, after, done)
        )

    def read_user(
        self, user: str, done: Callable[[dict[str, UserMarks] | PushdError], None]
    ) -> None:
        """Every mark of a user, by channel; marks of deleted channels are left out."""
        self._read(ReadUser(self._marks, user, done))

    def read_delivered(
        self,
        devices: list[Following],
        done: Callable[[list[dict[int, Cursor]] | PushdError], None],
    ) -> None:
        """How far each device has been given its channels, by their ids. Ask for no more than
        ``MOST_DEVICES`` at once: others wait for the disk, too."""
        self._read(ReadDelivered(self._marks, devices, done))


def _text(value: str) -> str:
    """Half a surrogate pair cannot be stored, and would stop the writer."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest("A text is not valid Unicode.") from None
    return value
