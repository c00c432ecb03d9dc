"""Groups and revocations as the owner tells them: what has changed, or all of them in a snapshot.

The owner tells how things are, not what happened, and the feed is applied in its order: what comes
later is true.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pushd.cluster.edge.applied import Applied
from pushd.cluster.wire import Members, Revoked
from pushd.core.positions import NO_EPOCH, Cursor
from pushd.log import MembersChanged
from pushd.log.live import Live


class Census:
    """Who is a member of what, and what is revoked. Changes ``live``."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._groups: dict[str, tuple[str, dict[str, int]]] = {}
        self._revoked: dict[tuple[str, str], tuple[float, float]] = {}

    def members(self, changes: Iterable[Members], applied: Applied) -> None:
        """What has changed."""
        for each in changes:
            self._take(each.group, each.epoch, each.joined, each.left, applied)

    def revoked(self, changes: Iterable[Revoked], applied: Applied) -> None:
        """What has changed."""
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

    def page(self, members: Iterable[Members], revoked: Iterable[Revoked]) -> None:
        """Part of it, or what has changed since it was begun."""
        for part in members:
            epoch, known = self._groups.get(part.group, (part.epoch, {}))
            if epoch != part.epoch:  # the channel began another life between two pages
                known = dict.fromkeys(known, 0)
            known.update(part.joined)
            for user in part.left:
                known.pop(user, None)
            self._groups[part.group] = (part.epoch, known)
        for each in revoked:
            key = (each.kind, each.value)
            if each.until:
                self._revoked[key] = (each.at, each.until)
            else:
                self._revoked.pop(key, None)

    def end_snapshot(self, applied: Applied) -> None:
        """What was known and is not in it is not so any more."""
        groups = self._live.groups
        for group in groups.names():
            _, now = self._groups.get(group, (NO_EPOCH, {}))
            gone = [user for user in groups.members(group) if user not in now]
            if gone:
                self._take(group, NO_EPOCH, {}, gone, applied)
        for group, (epoch, now) in self._groups.items():
            self._take(group, epoch, now, (), applied)
        if self._live.revocations != self._revoked:
            self._live.revocations.clear()
            self._live.revocations.update(self._revoked)
            applied.revoked = True
        self.begin_snapshot()

    def _take(
        self,
        group: str,
        epoch: str,
        joined: Mapping[str, int],
        left: Collection[str],
        applied: Applied,
    ) -> None:
        groups = self._live.groups
        come = [user for user in joined if not groups.has(group, user)]
        gone = [user for user in left if groups.has(group, user)]
        groups.take(group, epoch, joined, gone)
        if gone or come:
            applied.members.append(MembersChanged(group, come, gone, Cursor(epoch, 0)))
