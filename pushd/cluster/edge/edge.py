"""A node that follows the owner of the log: finds it, mirrors it, and knows how old that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import structlog
import trio

from pushd.cluster.bus.texts import Hint, OwnerRecord
from pushd.cluster.edge.applied import Applied
from pushd.cluster.edge.claims import Claims
from pushd.cluster.edge.edgelog import EdgeLog
from pushd.cluster.edge.following import Following
from pushd.cluster.edge.marking import EdgeMarking
from pushd.cluster.edge.pulled import LIMIT, MOST
from pushd.cluster.edge.puller import Puller
from pushd.errors import PushdError
from pushd.hub import Hub
from pushd.metrics import Gauge, Total

ALONE_S: Final = 0.25  # between two questions while nobody says what has changed
RETRY_S: Final = 0.25
LEAST_S: Final = 0.02  # between two questions, however often something changes
LONELY_S: Final = 5.0  # without having heard of an owner, until that is said

log = structlog.get_logger("pushd.cluster")


class BusState(Protocol):
    """As much of it as matters here."""

    @property
    def connected(self) -> bool: ...


class Bus(Protocol):
    """What tells of the owner, and what it says."""

    on_hint: list[Callable[[Hint], None]]
    on_owner: list[Callable[[OwnerRecord], None]]
    on_gap: list[Callable[[], None]]
    on_lost: list[Callable[[], None]]

    @property
    def state(self) -> BusState: ...

    def owner(self) -> OwnerRecord | None:
        """Of the highest generation that was ever seen."""


class Edge:
    """The service is ``run``. ``synced`` once the owner's state was read for the first time.

    Make it before ``bus`` runs, and ``run`` it once ``hub.log`` does.
    """

    def __init__(self, hub: Hub, durable: EdgeLog, bus: Bus, sync_s: float = 1.0) -> None:
        """``sync_s``: seconds between two questions about what has changed."""
        self.synced = trio.Event()
        self._hub = hub
        self._log = durable
        self._mirror = durable.mirror
        self._upstream = durable.upstream
        self._bus = bus
        self._sync_s = sync_s
        self._wake = trio.Event()
        self._quiet = False  # that there is no owner was said
        self._began = trio.current_time()
        self._claims = Claims(self._mirror.mark)
        limit = min(LIMIT, hub.settings.max_pull_messages)
        most = min(MOST, hub.settings.max_cursors)
        self._puller = Puller(self._upstream, self._mirror, self._claims, self._told, limit, most)
        if isinstance(hub.marking, EdgeMarking):
            hub.publisher.own_of = hub.marking.own
        self._following = Following(hub, durable, self._claims, self._told, self._may_pull)
        self._mirror.followed = hub.fanout.topics.__contains__
        durable.claimed = self._claims.of
        durable.on_stored = lambda channel, epoch, seq: self._claim(channel, (epoch, seq))
        durable.asks_owner = self._puller.ask
        self._upstream.on_lost = self._turned_away
        bus.on_hint.append(self.heard)
        bus.on_owner.append(lambda record: self._look())
        bus.on_gap.append(self._wake_up)
        bus.on_lost.append(self._wake_up)

    def gauges(self) -> tuple[Gauge, ...]:
        """What ``/metrics`` shows."""
        return (
            Gauge(
                "pushd_owner_stale_seconds",
                "Since the node that owns the log has told this edge how things are.",
                lambda: self._log.stale,
            ),
        )

    def totals(self) -> tuple[Total, ...]:
        """And what only rises."""
        return (
            Total(
                "pushd_owner_pulls",
                "Pulls of this edge for what has moved, each for all who wait for it here.",
                lambda: self._puller.pulls,
            ),
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._puller.run)
            await self._follow()

    # -- what is said

    def heard(self, hint: Hint) -> None:
        """Claims of the owner, as far as it is the one that is followed."""
        if hint.generation != self._upstream.generation:
            if hint.generation > self._upstream.generation:
                self._wake_up()
            return
        for channel, epoch, seq in hint.heads:
            self._claim(channel, (epoch, seq))
        if hint.control or self._upstream.node in hint.nodes:
            self._wake_up()

    def _claim(self, channel: str, mark: tuple[str, int]) -> None:
        if mark <= self._mirror.mark(channel):
            return
        if self._mirror.followed(channel):
            self._claims.want(channel, mark)
            self._puller.wake()
        else:
            self._claims.remember(channel, mark)

    # -- where the owner is

    def _look(self) -> None:
        record = self._bus.owner()
        if record is not None:
            self._turn_to(record)

    def _turn_to(self, record: OwnerRecord) -> None:
        before = self._upstream.generation
        if not self._upstream.turn_to(record):
            return
        log.info("following", owner=record.node, address=record.url, generation=record.generation)
        if record.generation != before:
            self._following.need_all()
        self._wake_up()

    def _turned_away(self, generation: str | None) -> None:
        """By whom was taken for the owner: it has begun anew, or is it no more."""
        record = self._upstream.record
        if generation is not None and record is not None and generation > record.generation:
            self._turn_to(OwnerRecord(record.node, record.url, generation, record.at))

    def _may_pull(self, may: bool) -> None:
        if may:
            self._puller.start()
            self.synced.set()
        else:
            self._puller.stop()

    def _wake_up(self) -> None:
        self._wake.set()

    # -- the feed

    async def _follow(self) -> None:
        while True:
            self._look()
            self._wake = trio.Event()
            least = trio.current_time() + LEAST_S
            pause = self._sync_s if self._bus.state.connected else min(ALONE_S, self._sync_s)
            try:
                if self._upstream.record is None:
                    self._say_lonely()
                else:
                    more = await self._following.step()
                    self._quiet = False
                    pause = 0.0 if more else pause
            except (PushdError, msgspec.DecodeError) as error:
                self._say_away(error)
                pause = RETRY_S
            with trio.move_on_after(pause):
                await self._wake.wait()
            if pause:
                await trio.sleep_until(least)

    def _say_lonely(self) -> None:
        if not self._quiet and trio.current_time() - self._began > LONELY_S:
            self._quiet = True
            log.warning(
                "no owner of the log is known: waiting for one",
                cure="Start it, with the same redis, cluster_name and cluster_key as this node.",
            )

    def _say_away(self, error: Exception) -> None:
        if not self._quiet:
            self._quiet = True
            log.warning("the owner of the log was not reached", reason=str(error))

    def _told(self, applied: Applied) -> None:
        self._log.told(applied)
        for channel, mark in applied.claims.items():
            self._claims.want(channel, mark)
        if self._claims:
            self._puller.wake()
