"""Groups and revocations as the owner tells them: one by one, or all of them in a snapshot."""

from __future__ import annotations

from collections.abc import Iterable

from pushd.cluster.applied import Applied
from pushd.cluster.wire import Joined, Members, Revoked
from pushd.core.positions import Cursor
from pushd.log import MembersChanged
from pushd.log.live import Live


class Census:
    """The feed is applied in its order, so what comes later is true."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._groups: dict[str, tuple[str, dict[str, int]]] = {}
        self._revoked: dict[tuple[str, str], tuple[float, float]] = {}

    def members(self, changes: Iterable[Members], applied: Applied) -> None:
        """In the order in which it happened."""
        for change in changes:
            MembersChanged(
                change.group,
                change.joined,
                change.left,
                Cursor(change.epoch, change.seq),
                change.deleted,
            ).apply(self._live)
        applied.members += self._live.take_members_changed()

    def revoked(self, changes: Iterable[Revoked], applied: Applied) -> None:
        """As they are now."""
        for change in changes:
            key = (change.kind, change.value)
            if change.until:
                self._live.revocations[key] = (change.at, change.until)
            else:
                self._live.revocations.pop(key, None)
            applied.revoked = True

    # -- the snapshot

    def begin_snapshot(self) -> None:
        """Its pages follow."""
        self._groups, self._revoked = {}, {}

    def page(self, groups: Iterable[Joined], revoked: Iterable[Revoked]) -> None:
        """Part of it."""
        for part in groups:
            self._groups.setdefault(part.group, (part.epoch, {}))[1].update(part.members)
        for each in revoked:
            self._revoked[each.kind, each.value] = (each.at, each.until)

    def end_snapshot(self, applied: Applied) -> None:
        """What was known and is not in it is not so any more."""
        live = self._live
        for group in live.groups.names():
            if group not in self._groups:
                left = list(live.groups.members(group))
                live.groups.drop(group)
                applied.members.append(MembersChanged(group, (), left, Cursor("none", 0)))
        for group, (epoch, members) in self._groups.items():
            self._compare(group, epoch, members, applied)
        if live.revocations != self._revoked:
            live.revocations.clear()
            live.revocations.update(self._revoked)
            applied.revoked = True
        self.begin_snapshot()

    def _compare(self, group: str, epoch: str, now: dict[str, int], applied: Applied) -> None:
        groups = self._live.groups
        before = set(groups.members(group))
        left = [user for user in before if user not in now]
        moved = [
            user
            for user, seq in now.items()
            if user in before and seq and groups.joined(group, user) != Cursor(epoch, seq)
        ]
        joined = [user for user in now if user not in before]
        if not (left or joined or moved):
            return
        if left or moved:
            groups.remove(group, [*left, *moved])
        at: dict[int, list[str]] = {}
        for user in (*joined, *moved):
            at.setdefault(now[user], []).append(user)
        for seq, users in sorted(at.items()):
            groups.add(group, users, Cursor(epoch, seq))
        applied.members.append(MembersChanged(group, joined, left, Cursor(epoch, 0)))
