"""Everything that the engines of one port share: made once by the server, handed to each."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio

from pushd import __version__
from pushd.access import Access
from pushd.allowance import Allowance
from pushd.announcer import Announcer
from pushd.application import Application
from pushd.audience import Audience
from pushd.auth import Authenticator
from pushd.core.names import SESSION_PREFIX
from pushd.core.namespaces import Namespaces
from pushd.core.nodes import NodeRecord
from pushd.core.origins import Origins
from pushd.core.responses import Responses
from pushd.core.topics import Mark
from pushd.core.wheel import Expiring, TimingWheel
from pushd.deliveries import Deliveries
from pushd.enforcer import Enforcer
from pushd.errors import Overloaded
from pushd.fanout import Fanout
from pushd.happenings import Happenings
from pushd.hook import ConnectHook
from pushd.inboxes import Inboxes
from pushd.keysource import Sources
from pushd.limits import jittered
from pushd.log import Advance, Change, Head, Log
from pushd.marking import Marking
from pushd.membership import Membership
from pushd.metrics import Counters
from pushd.nodes import Nodes
from pushd.notices import Notices
from pushd.outbound import Endpoint
from pushd.outgoing import Flusher
from pushd.pollers import Pollers
from pushd.presence import Presence
from pushd.publish import Publisher
from pushd.pull import Pulls
from pushd.rates import Rates
from pushd.rooms import Rooms
from pushd.sessionchannels import SessionChannels
from pushd.sessions import Sessions
from pushd.settings import Settings
from pushd.tails import Tails
from pushd.turns import Turns

log = structlog.get_logger("pushd")


@dataclass(slots=True)
class Hub:
    """One node's state and services. ``ready`` turns true once it serves, false at shutdown."""

    settings: Settings
    node_id: str
    log: Log
    authenticator: Authenticator
    hook: ConnectHook
    access: Access
    namespaces: Namespaces
    origins: Origins
    wheel: TimingWheel[Expiring]
    fanout: Fanout
    flusher: Flusher
    bodies: Allowance
    tails: Tails
    inboxes: Inboxes
    notices: Notices
    pulls: Pulls
    publisher: Publisher
    rates: Rates
    sessions: Sessions
    marking: Marking
    deliveries: Deliveries
    session_channels: SessionChannels
    audience: Audience
    application: Application
    happenings: Happenings
    pollers: Pollers
    presence: Presence
    announcer: Announcer
    rooms: Rooms
    membership: Membership
    responses: Responses
    counters: Counters
    enforcer: Enforcer
    key_sources: Sources
    services: trio.Nursery  # owns what outlives a connection
    # What other nodes may ask, by path and method; requests with node tokens, of larger bodies.
    cluster_routes: dict[bytes, dict[bytes, Callable[[Any, Any], None]]] = field(
        default_factory=dict
    )
    turns: Turns = field(default_factory=Turns)  # of what takes a while on the loop
    nodes: Nodes = field(default_factory=Nodes)
    since: float = field(default_factory=time.time)  # Unix seconds
    ready: bool = False
    connections: int = 0
    lag_s: float = 0.0  # how late the loop came to the wheel's last tick

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All addresses of the application, those that only a restart changes and the others."""
        return (*self.application.endpoints, *self.hook.endpoints)

    @property
    def overloaded(self) -> bool:
        """Whether the loop is so late that newcomers would only make it later for all."""
        return self.lag_s > self.settings.shed_lag

    def describe(self) -> NodeRecord:
        """What this node says of itself now."""
        redis = self.nodes.redis()
        return NodeRecord(
            node=self.node_id,
            role=self.nodes.role,
            url=self.nodes.url,
            version=__version__,
            since=self.since,
            sessions=len(self.sessions),
            connections=self.connections,
            held=len(self.pulls.held),
            lag_ms=round(self.lag_s * 1000, 3),
            generation=self.nodes.generation(),
            stale_ms=self.nodes.stale_ms(),
            redis="" if redis is None else str(redis.get("state", "")),
        )

    def check_load(self) -> None:
        """For newcomers. Raises Overloaded while the loop is late, and counts them."""
        if self.overloaded:
            self.counters.shed += 1
            raise Overloaded("This node is busy.", retry_after=jittered())

    def on_advance(self, advances: list[Advance]) -> None:
        """Committed messages: keep them for the pulls that follow, then tell who follows."""
        for advance in advances:
            try:
                self._advance(advance)
            except Exception:  # one channel's trouble must not keep hints from the others
                log.exception("a committed message could not be told of")

    def _advance(self, advance: Advance) -> None:
        head = advance.head
        self.counters.messages += len(advance.messages)
        if self.application.telling.messages is not None:
            # Before all else: what it does not hear of now, it would take for told.
            self.application.telling.messages.advance(advance)
        if advance.messages:
            self.tails.advance(advance)
        else:  # of another node's log: nobody here has wanted them yet
            self.tails.change(head.channel, head)
        mark = (head.epoch, head.seq)
        self.fanout.advance(head.channel, mark)
        if advance.start == 1:
            self._begun(head.channel, mark)

    def _begun(self, channel: str, mark: Mark) -> None:
        """A life of a channel has begun, of which its readers do not know."""
        if channel.startswith(SESSION_PREFIX):
            self.session_channels.begun(channel)
        elif (owner := self.inboxes.learn(channel)) is not None:
            self.fanout.advance(self.inboxes.news_of(owner), mark)
            self.sessions.adopt(owner, channel)

    def on_change(self, changes: list[Change]) -> None:
        """Trimmed, redacted or deleted: from now on no answer shows what was before."""
        for channel, head in changes:
            try:
                self._change(channel, head)
            except Exception:  # one channel's trouble must not keep it from the others
                log.exception("a change could not be told of", channel=channel)

    def _change(self, channel: str, head: Head | None) -> None:
        self.tails.change(channel, head)
        if head is None:
            self.inboxes.forget(channel)
            self.fanout.recall(channel)

    def keys_changed(self) -> None:
        """A key set has other keys now; who lives by one that went is put out."""
        self.authenticator.keys_changed()
        self.enforcer.look()

    def start_job(self, job: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Run a bounded job whose failure is logged, and harms nobody else."""
        self.services.start_soon(_supervise, job, arguments)


async def _supervise(job: Callable[..., Awaitable[None]], arguments: tuple[Any, ...]) -> None:
    try:
        await job(*arguments)
    except Exception:
        log.exception("a job failed", job=getattr(job, "__name__", repr(job)))
