"""The node that owns the log, for the others: hears what changes here, and tells whoever asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import structlog
import trio

from pushd.cluster.bus.texts import Hint
from pushd.cluster.owner.changes import Item, Moved, Standing, Touched
from pushd.cluster.owner.generation import next_generation
from pushd.cluster.owner.served import Served
from pushd.cluster.wire import PATH, Bye, ReadMark
from pushd.core.journal import Journal
from pushd.errors import BadSetting
from pushd.hub import Hub
from pushd.log import Advance, Change, Head, MembersChanged
from pushd.nodetokens import NodeTokens

MOST_HEADS: Final = 1_000  # of one hint: whoever lags by more asks
MEMBERS: Final = 2_500  # of one entry of the journal

T = TypeVar("T")

log = structlog.get_logger("pushd.cluster")


class Owner:
    """Keeps the journal, and gives hints of it to ``on_hints``, one for a turn of the loop."""

    def __init__(self, hub: Hub, tokens: NodeTokens, generation: str) -> None:
        """From now on node tokens for ``generation`` are taken."""
        self.generation = generation
        self.journal: Journal[Item] = Journal()
        self.on_hints: Callable[[Hint], None] = _nobody
        self.served = Served(hub, self.journal, generation)
        self._hub = hub
        self._moved: dict[str, Head] = {}
        self._nodes: set[str] = set()
        self._control = False
        self._due = False
        self._token = trio.lowlevel.current_trio_token()
        tokens.audience = generation

    # -- what happens here ---------------------------------------------------------------------

    def advanced(self, advances: list[Advance]) -> None:
        """Messages are on disk."""
        for advance in advances:
            head = advance.head
            self.journal.put(Moved(head.channel), head.channel)
            self._moved[head.channel] = head
        self._hint()

    def changed(self, changes: list[Change]) -> None:
        """Channels were trimmed, redacted or deleted: no edge may go on showing what was. What
        was just due, edges learn with their next questions: that happens all the time."""
        ended = self._hub.log.ended
        for channel, head in changes:
            self.journal.put(Moved(channel, ended.get(channel)), channel)
            if head is None:
                self._moved.pop(channel, None)
        if self._hub.log.urgent:
            self._control_changed()

    def members_changed(self, changes: list[MembersChanged]) -> None:
        """Members have joined and left."""
        for change in changes:
            for users in _portions([*change.joined, *change.left]):
                self.journal.put(Touched(change.group, users), weight=len(users))
        self._control_changed()

    def revoked_changed(self, keys: list[tuple[str, str]]) -> None:
        """Users or tokens were revoked, or are no longer."""
        for kind, value in keys:
            self.journal.put(Standing(kind, value), ("revoked", kind, value))
        self._control_changed()

    def read(
        self, user: str, channel: str, cursor: str, device: str | None, session: str | None
    ) -> None:
        """A read mark has risen: only nodes where the user is have to hear of it soon."""
        mark = ReadMark(user, channel, cursor, device, session)
        self.journal.put(mark, ("read", user, channel))
        sessions = self._hub.sessions.of_user(user)
        nodes = {each.node for each in sessions if each.node is not None}
        if nodes:
            self._nodes |= nodes
            self._hint()

    def bye(self, bye: Bye) -> None:
        """Sessions of other nodes are to end."""
        self.journal.put(bye)
        self._control_changed()

    # -- hints ---------------------------------------------------------------------------------

    def _control_changed(self) -> None:
        self._control = True
        self._hint()

    def _hint(self) -> None:
        """One for all that comes in this turn of the loop."""
        if not self._due:
            self._due = True
            self._token.run_sync_soon(self._tell)

    def _tell(self) -> None:
        heads = [(head.channel, head.epoch, head.seq) for head in self._moved.values()]
        hint = Hint(
            self.generation,
            self.journal.version,
            self._control or len(heads) > MOST_HEADS,
            heads[:MOST_HEADS],
            sorted(self._nodes),
        )
        self._moved, self._nodes, self._control, self._due = {}, set(), False, False
        try:
            self.on_hints(hint)
        except Exception:  # they ask without being told, too
            log.exception("a hint could not be given to the other nodes")


async def attach(hub: Hub, tokens: NodeTokens | None = None) -> Owner:
    """Let other nodes follow ``hub``, whose log is open and told to it already.

    ``tokens``: None: what the hub's authenticator takes, which then has to have a cluster key.
    """
    tokens = tokens or hub.authenticator.nodes
    if tokens is None:
        raise BadSetting("cluster_key is needed: without it no node knows another.")
    owner = Owner(hub, tokens, await next_generation(hub.log, round(time.time() * 1000)))
    durable = hub.log
    durable.on_advance = _both(durable.on_advance, owner.advanced)
    durable.on_change = _both(durable.on_change, owner.changed)
    durable.on_members = _both(durable.on_members, owner.members_changed)
    durable.on_revoked = _both(durable.on_revoked, owner.revoked_changed)
    hub.marking.on_read = owner.read
    prefix = (hub.settings.path_prefix + PATH).encode()
    hub.cluster_routes |= {prefix + name: each for name, each in owner.served.routes().items()}
    return owner


def _both(
    first: Callable[[list[T]], None], second: Callable[[list[T]], None]
) -> Callable[[list[T]], None]:
    """Own clients first: they are here."""

    def told(items: list[T]) -> None:
        try:
            first(items)
        finally:
            second(items)

    return told


def _portions(users: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(users), MEMBERS):
        yield tuple(users[start : start + MEMBERS])


def _nobody(_: Hint) -> None:
    pass
