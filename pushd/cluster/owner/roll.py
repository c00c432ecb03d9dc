"""The sessions of all other nodes, as those have told of them. Pure: no Redis, no clock.

After a gap, and at the start, it is not known who is there: nobody is taken for gone then but who
is told to be by the own node. Two leases later, who has not told of itself is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

from pushd.cluster.bus.texts import SessionEnd, SessionRecord, SessionsSaid, SessionsState

KEPT: Final = 1000  # changes of a node that wait for what they build upon
TURN: Final = 100  # sessions told of in one turn of the loop

ENDED: Final = (1006, "lost")
LOST: Final = (1006, "node lost")
LEFT: Final = (1012, "node ended")


class Told(Protocol):
    """Who is told of it; ``RemoteSessions`` is one."""

    def opened(self, record: SessionRecord) -> None: ...

    def changed(self, record: SessionRecord) -> None: ...

    def closed(self, session_id: str, code: int, reason: str) -> None: ...

    def set_known(self, known: bool) -> None: ...


class _Node:
    """``state``: what ``sessions`` are, None before they were read. ``confirmed``: since the last
    gap."""

    __slots__ = ("confirmed", "sessions", "state", "waiting")

    def __init__(self) -> None:
        self.state: SessionsState | None = None
        self.sessions: dict[str, SessionRecord] = {}
        self.waiting: deque[SessionsSaid] = deque()
        self.confirmed = False


class Roll:
    """``known``: whether what is here is all there is. ``wanted``: nodes whose sessions have to be
    read anew, in their order. ``settles_at``: when it will be known at last; None: known, or
    Redis is away. ``leaving``: sessions that ``part`` has to tell of yet, and why."""

    def __init__(self, node: str, told: Told, lease_s: float) -> None:
        """``node``: this one, of which nothing is taken from outside."""
        self.known = False
        self.wanted: dict[str, None] = {}
        self.settles_at: float | None = None
        self.leaving: dict[str, tuple[int, str]] = {}
        self.turn = TURN
        self._gaps = 0
        self._node = node
        self._told = told
        self.settle_s = 2 * lease_s  # how long nobody is sure after a gap
        self._nodes: dict[str, _Node] = {}
        told.set_known(False)

    def __len__(self) -> int:
        """Sessions."""
        return sum(len(node.sessions) for node in self._nodes.values())

    def nodes(self) -> list[str]:
        """Those of which anything is known."""
        return list(self._nodes)

    # -- Redis as a whole ------------------------------------------------------------------------

    def lost(self) -> None:
        """Redis is away."""
        self.settles_at = None
        self.wanted.clear()
        self._forget_what_is_sure()

    def gap(self, now: float) -> None:
        """It is there (again), and may have forgotten. ``now``: seconds on any clock."""
        self._forget_what_is_sure()
        self.settles_at = now + self.settle_s
        self.wanted = dict.fromkeys(self._nodes)

    def _forget_what_is_sure(self) -> None:
        self._gaps += 1
        for node in self._nodes.values():
            node.confirmed = False
            node.waiting.clear()
        if self.known:
            self.known = False
            self._told.set_known(False)

    def listed(self, nodes: list[str]) -> None:
        """Redis has something of these."""
        for name in nodes:
            if name not in self._nodes and name != self._node:
                self._nodes[name] = _Node()
                self.wanted[name] = None

    def settle(self, now: float) -> None:
        """To be called after each look at all leases: is it time to be sure? Not before all who
        are gone have parted."""
        if self.settles_at is None or now < self.settles_at:
            return
        for name in [name for name, node in self._nodes.items() if not node.confirmed]:
            self._drop(name, LOST)
        if not self.leaving:
            self.settles_at, self.known = None, True
            self._told.set_known(True)

    def part(self) -> None:
        """Tell of some that are leaving."""
        for id_ in list(islice(self.leaving, self.turn)):
            self._told.closed(id_, *self.leaving.pop(id_))

    # -- one node --------------------------------------------------------------------------------

    def absent(self, name: str) -> None:
        """Its lease has run out. While nobody is sure, it is given the time to come back."""
        if self.known:
            self._drop(name, LOST)

    def heard(self, said: SessionsSaid) -> None:
        """A change, in the order in which they were published."""
        if said.node == self._node:
            return
        node = self._nodes.get(said.node)
        if said.gone:
            if node is not None and (node.state is None or node.state.life == said.life):
                self._drop(said.node, LEFT)
            return
        if node is None:
            self.listed([said.node])
            node = self._nodes[said.node]
        if said.node in self.wanted:
            self._keep(node, said)
        elif not self._apply(node, said):
            self.wanted[said.node] = None
            self._keep(node, said)

    def take(
        self, name: str, state: SessionsState, records: dict[str, SessionRecord]
    ) -> Iterator[None]:
        """What Redis has of it, complete up to ``state``; in turns, so that others have theirs.
        Nothing happens when it was better known before: a Redis that failed over may be behind."""
        node = self._nodes.get(name)
        if node is None or (node.state is not None and _is_older(state, node.state)):
            return
        gaps = self._gaps
        gone = [SessionEnd(id_, *ENDED) for id_ in node.sessions if id_ not in records]
        steps: list[SessionEnd | SessionRecord] = [*gone, *records.values()]
        for number, each in enumerate(steps, 1):
            if isinstance(each, SessionEnd):
                self._close(node, each)
            else:
                self._open(node, name, each)
            if not number % self.turn:
                yield
                if self._gaps != gaps or self._nodes.get(name) is not node:
                    return
        node.state, node.confirmed = state, True
        while node.waiting:
            if not self._apply(node, node.waiting[0]):
                return  # something is missing again
            node.waiting.popleft()
            yield
            if self._gaps != gaps or self._nodes.get(name) is not node:
                return
        self.wanted.pop(name, None)

    def _apply(self, node: _Node, said: SessionsSaid) -> bool:
        """False: something is missing before it."""
        state = node.state
        if state is None:
            return False
        if said.life == state.life:
            if (said.base, said.number) <= (state.base, state.number):
                return True
            news = said.live or said.closed  # or it only says how far it is
            if news and (said.base, said.number) == (state.base, state.number + 1):
                for record in said.live:
                    self._open(node, said.node, record)
                for end in said.closed:
                    self._close(node, end)
                state.number = said.number
                return True
        return False

    @staticmethod
    def _keep(node: _Node, said: SessionsSaid) -> None:
        if len(node.waiting) >= KEPT:
            node.waiting.clear()
        node.waiting.append(said)

    def _open(self, node: _Node, name: str, record: SessionRecord) -> None:
        if record.node != name:
            return
        known = node.sessions.get(record.session)
        node.sessions[record.session] = record
        if self.leaving.pop(record.session, None) is not None:
            self._told.changed(record)
        elif known is None:
            self._told.opened(record)
        elif known != record:
            self._told.changed(record)

    def _close(self, node: _Node, end: SessionEnd) -> None:
        if node.sessions.pop(end.session, None) is not None:
            self._told.closed(end.session, end.code, end.reason)

    def _drop(self, name: str, why: tuple[int, str]) -> None:
        node = self._nodes.pop(name, None)
        self.wanted.pop(name, None)
        if node is not None:
            self.leaving.update(dict.fromkeys(node.sessions, why))


def _is_older(state: SessionsState, known: SessionsState) -> bool:
    return state.life == known.life and (state.base, state.number) < (known.base, known.number)
