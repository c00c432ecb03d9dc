"""Who is a member of which group: an index in memory over what the log has on disk.

Changed on the Trio loop only, when a change is committed; asked for every pull of a group.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping
from typing import Final

from pushd.core.positions import NO_EPOCH, Cursor

GROUP: Final = "group:"  # what the names of their channels begin with


class _Group:
    """``members``: by user, the seq of the group's channel at which the user has joined, of life
    ``epoch``; 0 when it was in an earlier life: then all of this one came later."""

    __slots__ = ("epoch", "members")

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.members: dict[str, int] = {}

    def add(self, user: str, at: Cursor) -> None:
        self.be_in(at.epoch)
        self.members.setdefault(user, at.seq)

    def be_in(self, epoch: str) -> None:
        if epoch != self.epoch:
            self.epoch = epoch
            self.members = dict.fromkeys(self.members, 0)


_NOBODY: Final[KeysView[str]] = {}.keys()


class Groups:
    """Group ids and user ids. ``version`` rises with every change; ``memberships`` counts them.

    A group is there as long as it has members.
    """

    __slots__ = ("_groups", "_of_user", "memberships", "version")

    def __init__(self) -> None:
        self.memberships = 0
        self.version = 0
        self._groups: dict[str, _Group] = {}
        # May name groups that were dropped since, until ``tidy``.
        self._of_user: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def has(self, group: str, user: str) -> bool:
        """Whether ``user`` is a member."""
        found = self._groups.get(group)
        return found is not None and user in found.members

    def since(self, channel: str, user: str) -> Cursor | None:
        """As ``joined``, by the name of a channel; None for one that is no group's."""
        return self.joined(channel[len(GROUP) :], user) if channel.startswith(GROUP) else None

    def joined(self, group: str, user: str) -> Cursor | None:
        """Where the group's channel was when the user joined; None: is no member.

        Epoch ``none``: it had no life then, or an earlier one than is known of here.
        """
        found = self._groups.get(group)
        seq = None if found is None else found.members.get(user)
        if found is None or seq is None:
            return None
        return Cursor(found.epoch, seq) if seq else Cursor(NO_EPOCH, 0)

    def names(self) -> list[str]:
        """All groups, in no order; a copy."""
        return list(self._groups)

    def members(self, group: str) -> KeysView[str]:
        """A view. Nobody, for a group that is not there."""
        found = self._groups.get(group)
        return _NOBODY if found is None else found.members.keys()

    def of(self, user: str) -> list[str]:
        """The groups of a user, by name."""
        known = self._of_user.get(user)
        if known is None:
            return []
        return sorted(group for group in known if self.has(group, user))

    def channels_of(self, user: str) -> list[str]:
        """The channels of those groups."""
        return [GROUP + group for group in self.of(user)]

    def state(self, group: str) -> tuple[str, Mapping[str, int]]:
        """The life of the group's channel that is known of, and the members with the seqs at which
        they joined (0: before that life). A view; nobody, for a group that is not there."""
        found = self._groups.get(group)
        return (NO_EPOCH, {}) if found is None else (found.epoch, found.members)

    def take(self, group: str, epoch: str, joined: Mapping[str, int], left: Iterable[str]) -> None:
        """Part of a ``state`` as it is elsewhere, and who is no member there."""
        self.add(group, joined, Cursor(epoch, 0))
        self.remove(group, left)
        found = self._groups.get(group)
        if found is not None:
            found.be_in(epoch)
            found.members.update(joined)

    def add(self, group: str, users: Iterable[str], at: Cursor) -> None:
        """They are members from now on. ``at``: where the group's channel is."""
        self.version += 1
        found = self._groups.get(group) or _Group(at.epoch)
        before = len(found.members)
        for user in users:
            found.add(user, at)
            known = self._of_user.get(user, ())
            if group not in known:
                self._of_user[user] = (*known, group)
        if found.members:
            self._groups[group] = found
        self.memberships += len(found.members) - before

    def remove(self, group: str, users: Iterable[str]) -> None:
        """They are no longer."""
        self.version += 1
        found = self._groups.get(group)
        if found is None:
            return
        before = len(found.members)
        for user in users:
            found.members.pop(user, None)
            self.tidy(user)
        self.memberships -= before - len(found.members)
        if not found.members:
            del self._groups[group]

    def drop(self, group: str) -> KeysView[str]:
        """Nobody is a member any more; answers who was. ``tidy`` each of them, soon."""
        self.version += 1
        found = self._groups.pop(group, None)
        if found is None:
            return _NOBODY
        self.memberships -= len(found.members)
        return found.members.keys()

    def tidy(self, user: str) -> None:
        """Keep nothing of groups that the user is not in."""
        kept = tuple(group for group in self._of_user.get(user, ()) if self.has(group, user))
        if kept:
            self._of_user[user] = kept
        else:
            self._of_user.pop(user, None)
