"""Settings that bound what one request, session or node may use."""

from __future__ import annotations

from dataclasses import dataclass

from pushd.core.namespaces import Retention
from pushd.settings.addresses import Networks
from pushd.settings.declare import setting
from pushd.settings.kinds import Count, Duration, OrNone, Size
from pushd.settings.namespaces import RETENTION_AGE, RETENTION_BYTES, RETENTION_MESSAGES

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Sessions and heartbeats"""

    heartbeat_interval: float = setting(
        25.0, Duration(0.05, 10 * MINUTE), "How often clients are told to send a heartbeat."
    )
    heartbeat_timeout: float = setting(
        60.0, Duration(0.1, HOUR), "A session silent for so long is closed (4008)."
    )
    heartbeat_check_interval: float = setting(
        0.25, Duration(0.001, 10), "Tick of the timing wheel: how late a time-out may be noticed."
    )
    pull_interval: float = setting(
        20.0, Duration(0.05, 10 * MINUTE), "How often clients pull although no hint came."
    )
    sse_heartbeat: float = setting(
        15.0, Duration(0.05, 10 * MINUTE), "How often a server-sent event stream gets a heartbeat."
    )
    sse_retry: float = setting(
        2.0,
        Duration(0.01, 10 * MINUTE),
        "How long a browser waits before it opens its event stream again, give or take a half.",
    )
    poll_grace: float = setting(
        60.0,
        Duration(0.05, HOUR),
        "How long a device that long-polls counts as a session, and notices are kept for it,"
        " between two polls.",
    )
    presence_grace: float = setting(
        5.0,
        Duration(0, HOUR),
        "How long a user counts as online after the last session ended: a reload is no flicker.",
    )
    auth_timeout: float = setting(
        10.0, Duration(0.05, 5 * MINUTE), "Time for a WebSocket to show its token."
    )
    max_channels_per_session: int = setting(
        128, Count(1, 10_000), "Channels that one session may subscribe to."
    )
    outgoing_buffer: int = setting(
        64 * KIB,
        Size(4 * KIB, 16 * MIB),
        "Unsent bytes of one session; beyond them hints are merged.",
    )


@dataclass(frozen=True, kw_only=True)
class Connections:
    """Connections"""

    max_connections: int = setting(20_000, Count(1, 1_000_000), "Connections of this node.")
    max_connections_per_user: int = setting(
        20, Count(1, 100_000), "Sessions, held polls and waiting publishes of one user."
    )
    max_handshakes: int = setting(
        1000, Count(1, 100_000), "Connections that have not sent a whole request head yet."
    )
    max_handshakes_per_address: int = setting(32, Count(1, 100_000), "The same, from one address.")
    max_connections_per_address: int = setting(
        1000, Count(1, 1_000_000), "Connections from one address (IPv6: one /64 network)."
    )
    trusted_proxies: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"),
        Networks(),
        "Networks whose connections bring many clients: no limits per address for them.",
    )
    shed_lag: float = setting(
        1.0,
        Duration(0.01, HOUR),
        "When the event loop is so late, new connections and WebSockets get 503 until it is not.",
    )
    head_timeout: float = setting(
        10.0, Duration(0.05, 5 * MINUTE), "Time for a request head to arrive."
    )
    body_timeout: float = setting(30.0, Duration(0.05, HOUR), "Time for a request body to arrive.")
    idle_timeout: float = setting(
        60.0, Duration(0.05, HOUR), "A kept-alive connection without a request is closed."
    )
    write_timeout: float = setting(
        10.0, Duration(0.05, 5 * MINUTE), "A peer that takes no bytes for so long is closed."
    )


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What clients may send"""

    user_messages_per_second: int | None = setting(
        50,
        OrNone(Count(1, 1_000_000)),
        "Messages and calls of one user, beyond the burst; then 429. Services are not limited.",
    )
    user_message_burst: int = setting(
        500, Count(1, 1_000_000), "So many at once, from one user who sent nothing for a while."
    )
    address_messages_per_second: int | None = setting(
        500, OrNone(Count(1, 1_000_000)), "The same of one address (IPv6: one /64 network)."
    )
    address_message_burst: int = setting(
        5000, Count(1, 10_000_000), "The same at once, from all users of one address."
    )


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests and pulls"""

    max_head: int = setting(16 * KIB, Size(1 * KIB, MIB), "Request line and headers.")
    max_headers: int = setting(100, Count(10, 10_000), "Headers of one request.")
    max_body: int = setting(
        64 * KIB, Size(1 * KIB, 64 * MIB), "One message, one frame, most request bodies."
    )
    max_publish_body: int = setting(MIB, Size(1 * KIB, 256 * MIB), "A body of POST /v1/publish.")
    max_batch_body: int = setting(
        8 * MIB, Size(1 * KIB, GIB), "An NDJSON body of POST /v1/publish."
    )
    body_memory: int = setting(
        64 * MIB,
        Size(MIB, TIB),
        "Request bodies under way, of all connections; then the slowest get 503.",
    )
    answer_memory: int = setting(
        512 * MIB,
        Size(MIB, TIB),
        "Answers that peers have not taken yet, of all connections; then the slowest are cut.",
    )
    max_wait: float = setting(
        60.0, Duration(0, HOUR), "Longest wait of a long-poll; longer ones are shortened."
    )
    max_pull_messages: int = setting(
        1000, Count(1, 100_000), "Messages in one answer, per channel."
    )
    max_pull_bytes: int = setting(
        MIB, Size(1 * KIB, 256 * MIB), "Bytes of messages in one answer; one always fits."
    )
    max_new_channels: int = setting(
        100, Count(0, 1_000_000_000), "Channels that one user may begin within an hour; then 429."
    )
    max_targets: int = setting(10_000, Count(1, 1_000_000), "Targets of one publish.")
    max_cursors: int = setting(128, Count(1, 10_000), "Cursors of one multi-pull or ack.")


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The log"""

    publish_backlog: int = setting(
        16 * MIB, Size(64 * KIB, 4 * GIB), "Messages that wait for the disk; then 503."
    )
    batch_messages: int = setting(512, Count(1, 100_000), "Messages of one commit.")
    batch_bytes: int = setting(MIB, Size(1 * KIB, 256 * MIB), "Bytes of one commit.")
    write_behind: float = setting(
        1.0, Duration(0.01, MINUTE), "How long delivered and read marks may wait to be written."
    )
    min_free_disk: int = setting(
        256 * MIB, Size(0, 16 * TIB), "With less free disk, publishes get 507; pulls go on."
    )
    idempotency: float = setting(
        24 * HOUR, Duration(MINUTE, 30 * DAY), "How long a publisher's message id is remembered."
    )
    retention_age: float | None = setting(
        7 * DAY,
        RETENTION_AGE,
        "Older messages are removed. Inboxes keep 90 days, or so long if this is longer.",
    )
    retention_messages: int | None = setting(
        100_000, RETENTION_MESSAGES, "Messages kept, per channel; the oldest go first."
    )
    retention_bytes: int | None = setting(
        None, RETENTION_BYTES, "Bytes of messages kept, per channel; the oldest go first."
    )
    retention_interval: float = setting(
        10.0, Duration(0.01, HOUR), "How often is looked for messages that are to be removed."
    )
    expiring_percent: int = setting(
        10,
        Count(1, 90),
        "Clients that lack messages of the last part of a window, so many percent of it, are told "
        "that these are about to go.",
    )
    cursor_active: float = setting(
        24 * HOUR,
        Duration(0.1, 365 * DAY),
        "A device that was heard of since then counts as one that comes back: the slowest of them "
        "is shown.",
    )
    tail_cache: int = setting(
        256 * MIB, Size(0, TIB), "Memory for recent messages and answers of all channels."
    )
    tail_messages: int = setting(
        20_000, Count(0, 1_000_000), "Recent messages kept in memory, per channel."
    )

    @property
    def retention(self) -> Retention:
        """What holds where no namespace says otherwise."""
        last = self.expiring_percent / 100
        bounds = self.retention_age, self.retention_messages, self.retention_bytes
        return Retention(*bounds, last=last)


@dataclass(frozen=True, kw_only=True)
class Fanout:
    """Hints and shutdown"""

    hint_interval: float = setting(
        0.25, Duration(0, 10), "Longest rest between two rounds of hints in one busy channel."
    )
    jitter_subscribers: int = setting(
        1000, Count(0, 10_000_000), "From so many subscribers on, hints ask clients to spread."
    )
    jitter_pulls_per_second: int = setting(
        20_000, Count(1, 10_000_000), "Pulls a second that such spreading aims at."
    )
    drain: float = setting(30.0, Duration(0, HOUR), "Time that a shutdown leaves to connections.")
    drain_spread: float = setting(
        3.0,
        Duration(0, 10 * MINUTE),
        "A shutdown closes sessions over so long (drain at most), not at once.",
    )
