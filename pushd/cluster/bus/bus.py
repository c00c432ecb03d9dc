"""What nodes tell each other through Redis: claims, addresses and leases; never a message.

Nothing here is needed to be right, only to be quick: who hears nothing asks the owner.
"""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
import trio

from pushd.cluster.bus.address import RedisAddress
from pushd.cluster.bus.arrivals import Heard
from pushd.cluster.bus.busstate import BusState
from pushd.cluster.bus.commands import Command, CommandQueue, RedisAway, Work
from pushd.cluster.bus.nodebook import NodeBook
from pushd.cluster.bus.ownership import Ownership
from pushd.cluster.bus.sealed import Sealed, Signer
from pushd.cluster.bus.texts import Hint, OwnerRecord
from pushd.cluster.bus.wires import Wires, call_all
from pushd.core.nodes import NodeRecord

log = structlog.get_logger("pushd.cluster")

TIMEOUT_S: Final = 3.0  # of each step on the wire
LEASE_S: Final = 15.0
RENEW_S: Final = 5.0
TICK_S: Final = 1.0


class Bus:
    """One node's share. Used on the Trio loop; ``run`` has the threads.

    Who listens is set before ``run``: ``on_hint``, ``on_owner`` (another one, or elsewhere),
    ``on_gap`` (there is a connection, and what was said before may have been missed: also at the
    first one, and when Redis was emptied), ``on_lost`` (there is none any more).
    ``book.describe``: what this node says of itself. ``farewells``: what is said last.
    """

    def __init__(
        self,
        url: str,
        name: str,
        signer: Signer,
        node: str,
        *,
        timeout_s: float = TIMEOUT_S,
        lease_s: float = LEASE_S,
        renew_s: float = RENEW_S,
        tick_s: float = TICK_S,
    ) -> None:
        """``name``: what all names in Redis begin with. Raises BadSetting for a useless ``url``."""
        self.address = RedisAddress(url, timeout_s)
        self.state = BusState(self.address.shown)
        self.name, self.node, self.sealed = name, node, Sealed(signer)
        self.lease_ms = int(lease_s * 1000)
        self.renew_s, self.tick_s = renew_s, tick_s
        self.on_hint: list[Callable[[Hint], None]] = []
        self.on_owner: list[Callable[[OwnerRecord], None]] = []
        self.on_gap: list[Callable[[], None]] = []
        self.on_lost: list[Callable[[], None]] = []
        self.farewells: list[Callable[[], Sequence[Command]]] = []
        self._listeners: dict[str, Callable[[bytes], None]] = {}
        self._hints_channel = self.key("hints")
        self._commands = CommandQueue()
        self._wires = Wires(
            self.address,
            self.state,
            self._commands,
            self._hints_channel,
            self._connected,
            lambda: call_all(self.on_lost),
            self._heard,
        )
        self._news = trio.Event()
        self.marker: bytes | None = None  # what Redis has until it is emptied; None: not known yet
        self._asked = False  # a tick's answer is to come
        self._renewed = -math.inf
        self._owner = Ownership(
            self.key("owner"), self.sealed, self.state, self.lease_ms, self.on_owner
        )
        self.book = NodeBook(name, node, self.sealed, self.state, self.lease_ms, self.ask)

    def key(self, *parts: str) -> str:
        """A name in Redis."""
        return ":".join((self.name, *parts))

    # -- what is said ----------------------------------------------------------------------------

    def publish_hints(self, hint: Hint) -> None:
        """To all nodes that listen; of what waits, only the newest of each channel is said."""
        self.state.lost += self._commands.put_hint(hint)

    def announce(self, record: OwnerRecord) -> None:
        """This node owns the log, from now on until ``run`` ends."""
        self._owner.announce(record)
        self.hurry()

    def post(
        self,
        commands: Sequence[Command],
        done: Callable[[list[Any] | RedisAway], None] | None = None,
    ) -> bool:
        """Say them when possible, in one piece. False: not taken, Redis is away or too slow."""
        return self._commands.put(Work(commands, done))

    async def ask(self, *commands: Command) -> list[Any]:
        """Say them and wait for what Redis replies to each. Raises RedisAway."""
        answered = trio.Event()
        replies: list[Any] | RedisAway = RedisAway("Redis is too slow")

        def done(answer: list[Any] | RedisAway) -> None:
            nonlocal replies
            replies = answer
            answered.set()

        if not self.post(commands, done):
            raise RedisAway(f"Redis is away: {self.state.error or 'too much waits for it'}")
        with trio.move_on_after(4 * self.address.timeout_s):
            await answered.wait()
        if isinstance(replies, RedisAway):
            raise replies
        for reply in replies:
            if isinstance(reply, Exception):
                raise RedisAway(f"Redis refuses: {reply}")
        return replies

    # -- what is known ---------------------------------------------------------------------------

    def owner(self) -> OwnerRecord | None:
        """The owner of the highest generation that was ever seen: perhaps it is away by now."""
        return self._owner.record

    async def nodes(self) -> list[NodeRecord]:
        """All nodes with a lease, this one included, by their ids; the last known ones while Redis
        is away. Redis is asked at most once a second."""
        return await self.book.read()

    def listen(self, name: str, heard: Callable[[bytes], None]) -> None:
        """Call ``heard`` with each text that is published under this name. Before ``run``."""
        self._listeners[self.key(name)] = heard

    # -- life ------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is cancelled: then this node takes its records away, and the threads end. It
        has started when they run; Redis may come later."""
        hears = [self._hints_channel] if self.on_hint else []
        self._wires.start([*self._listeners, *hears])
        task_status.started()
        try:
            while True:
                self._tick()
                self._news = trio.Event()
                with trio.move_on_after(self.tick_s):
                    await self._news.wait()
        finally:
            with trio.CancelScope(shield=True):  # both steps have a deadline
                await self._leave()

    async def _leave(self) -> None:
        """In order, as far as there is time; the threads are daemons."""
        if self.state.connected:
            farewell = [command for say in self.farewells for command in say()]
            farewell += [*self._owner.farewell(), *self.book.farewell()]
            with trio.move_on_after(self.address.timeout_s), contextlib.suppress(RedisAway):
                await self.ask(*farewell)
        with trio.move_on_after(2 * self.address.timeout_s):
            await self._wires.end()

    # -- connections -----------------------------------------------------------------------------

    def _connected(self) -> None:
        self.marker, self._asked = None, False
        call_all(self.on_gap)
        self.hurry()

    def hurry(self) -> None:
        """Look at once at what is looked at every second, and renew what is this node's."""
        self._renewed = -math.inf
        self._news.set()

    # -- every second ----------------------------------------------------------------------------

    def _tick(self) -> None:
        """Is Redis still what it was, where is the owner; and now and then: this node lives."""
        if self._asked or not self.state.connected:
            return
        marker = self.key("marker")
        commands: list[Command] = [("SET", marker, secrets.token_hex(8), "NX"), ("GET", marker)]
        commands.append(("GET", self._owner.key))
        now = trio.current_time()
        if now - self._renewed >= self.renew_s:
            self._renewed = now
            commands += [*self._owner.renewal(), *self.book.renewal()]
        self._asked = self.post(commands, self._ticked)

    def _ticked(self, replies: list[Any] | RedisAway) -> None:
        self._asked = False
        if isinstance(replies, RedisAway) or not self.state.connected:
            return
        _, marker, owner, *renewed = replies
        if renewed:
            self.book.renewed(renewed[-1])
        if self._owner.found(owner):
            self._renewed = -math.inf
        if not isinstance(marker, bytes):
            return
        known, self.marker = self.marker, marker
        if known is not None and marker != known:
            log.warning("redis was emptied", redis=self.state.shown)
            self.state.emptied += 1
            call_all(self.on_gap)
            self.hurry()

    def _heard(self, heard: Heard) -> None:
        for hint in heard.hints:
            call_all(self.on_hint, hint)
        for channel, text in heard.texts:
            call_all([self._listeners[channel]], text)
