"""All that the owner has, in pages: names as they were at a version, each looked up when told.

What has changed since, also between two pages, the journal tells from that version on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from pushd.cluster.owner.states import head_state, members_state, revoked_state
from pushd.cluster.wire import Feed
from pushd.groups import Groups
from pushd.log import Log

MOST_LISTINGS: Final = 4
SHARED_S: Final = 5.0  # edges that begin within it read the same one
KEPT_S: Final = 60.0  # since it was last asked for


class Place(NamedTuple):
    """Where a page begins: which part, which of its names, which member of that group."""

    part: int = 0
    nth: int = 0
    within: int = 0


class Listing:
    """The names, as they were at ``version``; members of a group as they are when first asked for,
    which is not before."""

    __slots__ = ("_members", "begun_at", "channels", "groups", "revoked", "used_at", "version")

    def __init__(self, version: int, log: Log, now: float) -> None:
        self.version = version
        self.begun_at = self.used_at = now
        self.revoked = list(log.revocations)
        self.groups = log.groups.names()
        self.channels = list(log.heads)
        self._members: dict[str, list[str]] = {}

    def members(self, group: str, groups: Groups, most: int) -> list[str]:
        """Those of more than a page are kept: the next page goes on in the same order."""
        found = self._members.get(group)
        if found is None:
            found = list(groups.members(group))
            if len(found) > most:
                self._members[group] = found
        return found


class Snapshots:
    """Those under way. Used on the loop."""

    def __init__(self, log: Log, page: int, clock: Callable[[], float]) -> None:
        """``page``: how many names one page has. ``clock``: in seconds, steady."""
        self._log = log
        self._page = page
        self._clock = clock
        self._listings: OrderedDict[int, Listing] = OrderedDict()
        self._begun = 0

    def __len__(self) -> int:
        return len(self._listings)

    def tidy(self) -> None:
        """Forget those that nobody reads any more."""
        before = self._clock() - KEPT_S
        for number in [each for each, found in self._listings.items() if found.used_at < before]:
            del self._listings[number]

    def first_page(self, feed: Feed, version: int) -> None:
        """``version``: the journal's, now."""
        now = self._clock()
        newest = next(reversed(self._listings), None)
        if newest is None or now - self._listings[newest].begun_at > SHARED_S:
            self._begun = newest = self._begun + 1
            self._listings[newest] = Listing(version, self._log, now)
            if len(self._listings) > MOST_LISTINGS:
                self._listings.popitem(last=False)
        self._fill(feed, newest, Place())

    def page(self, feed: Feed, token: str, floor: int) -> bool:
        """False: that snapshot is over; or the journal, which looks back to version ``floor``,
        cannot tell what has changed since it was begun. Raises ValueError: there is no such page.
        """
        number, *place = map(int, token.split("."))
        if len(place) != len(Place._fields) or min(place) < 0:
            raise ValueError(token)
        found = self._listings.get(number)
        if found is None or found.version < floor:
            return False
        self._fill(feed, number, Place(*place))
        return True

    def _fill(self, feed: Feed, number: int, at: Place) -> None:
        """Of each part in turn, as much as there is room for."""
        listing = self._listings[number]
        listing.used_at = self._clock()
        feed.version = listing.version
        room = self._page
        for part, fill in enumerate((self._revoked, self._groups, self._heads)):
            if part < at.part:
                continue
            following, room = fill(feed, listing, at if part == at.part else Place(part), room)
            if following is not None:
                feed.page = ".".join(map(str, (number, *following)))
                return

    def _revoked(self, feed: Feed, listing: Listing, at: Place, room: int) -> _Filled:
        upto = min(at.nth + room, len(listing.revoked))
        feed.revoked += [revoked_state(self._log, *key) for key in listing.revoked[at.nth : upto]]
        return _filled(at, upto, len(listing.revoked), room)

    def _heads(self, feed: Feed, listing: Listing, at: Place, room: int) -> _Filled:
        upto = min(at.nth + room, len(listing.channels))
        heads = self._log.heads
        names = listing.channels[at.nth : upto]
        feed.heads += [head_state(heads[name]) for name in names if name in heads]
        return _filled(at, upto, len(listing.channels), room)

    def _groups(self, feed: Feed, listing: Listing, at: Place, room: int) -> _Filled:
        within = at.within
        for nth in range(at.nth, len(listing.groups)):
            group = listing.groups[nth]
            users = listing.members(group, self._log.groups, self._page)
            if within == 0 and room < len(users) <= self._page:
                return Place(at.part, nth), room  # as a whole: the next page has room for it
            while within < len(users):
                if room == 0:
                    return Place(at.part, nth, within), room
                some = users[within : within + room]
                members = members_state(self._log.groups, group, some)
                members.left = []  # since the listing: the journal tells of them
                feed.members.append(members)
                within += len(some)
                room -= len(some)
            within = 0
        return None, room


_Filled = tuple[Place | None, int]  # where the next page begins, and what room is left


def _filled(at: Place, upto: int, count: int, room: int) -> _Filled:
    following = Place(at.part, upto) if upto < count else None
    return following, room - (upto - at.nth)
