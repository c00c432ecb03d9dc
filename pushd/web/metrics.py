"""What /metrics shows: the counters, and gauges read at that moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pushd.hub import Hub
from pushd.log import Head
from pushd.metrics import Gauge, PushdCollector, Timing, Total


def make_collector(hub: Hub) -> PushdCollector:
    return PushdCollector(
        hub.counters,
        (
            *_of_clients(hub),
            *_of_the_application(hub),
            *_of_the_log(hub),
            *_of_the_disk(hub),
            *_of_keys(hub),
            *hub.nodes.gauges,
        ),
        _timings(hub),
        _totals(hub),
    )


def _of_clients(hub: Hub) -> tuple[Gauge, ...]:
    sessions = hub.sessions
    return (
        Gauge("pushd_sessions", "Live sessions of this node.", lambda: len(sessions)),
        Gauge(
            "pushd_remote_sessions",
            "Live sessions of other nodes that this one knows of, which owns the log.",
            lambda: len(sessions.by_id) - len(sessions),
        ),
        Gauge(
            "pushd_sessions_by_transport",
            "Live sessions: websocket, sse, poll.",
            sessions.transports,
            "transport",
        ),
        Gauge("pushd_users_online", "Users who are online.", lambda: len(hub.presence)),
        Gauge("pushd_presence_members", "Users in topics with presence.", lambda: len(hub.rooms)),
        Gauge("pushd_connections", "Open connections.", lambda: hub.connections),
        Gauge("pushd_held_polls", "Pulls that wait.", lambda: len(hub.pulls.held)),
        Gauge(
            "pushd_waiting_publishes",
            "Publishes that wait until a user has the message.",
            lambda: len(hub.deliveries),
        ),
        Gauge(
            "pushd_leaving_session_channels",
            "Channels of closed sessions that are still to be deleted.",
            lambda: len(hub.session_channels),
        ),
        Gauge("pushd_topics", "Channels that somebody follows.", lambda: len(hub.fanout.topics)),
        Gauge("pushd_body_bytes", "Request bodies under way.", lambda: hub.bodies.used),
        Gauge("pushd_tail_bytes", "Memory of tails and answers.", lambda: hub.tails.size),
        Gauge("pushd_loop_lag_seconds", "Lateness of the wheel's last tick.", lambda: hub.lag_s),
    )


def _of_the_application(hub: Hub) -> tuple[Gauge, ...]:
    application = hub.application
    telling = application.telling
    return (
        Gauge(
            "pushd_calls_under_way", "Calls not answered yet.", lambda: application.calls.under_way
        ),
        Gauge(
            "pushd_circuit_open",
            "1 while the application does not answer there.",
            lambda: {each.name: float(each.is_open) for each in hub.endpoints},
            "endpoint",
        ),
        Gauge(
            "pushd_webhook_channels_behind",
            "Channels with messages that the application was not told of yet.",
            lambda: telling.channels_behind,
        ),
        Gauge(
            "pushd_webhook_events_waiting",
            "Events that the application was not told of yet.",
            lambda: telling.events_waiting,
        ),
    )


def _of_the_log(hub: Hub) -> tuple[Gauge, ...]:
    log = hub.log
    return (
        Gauge("pushd_channels", "Channels in the log.", lambda: len(log.heads)),
        Gauge("pushd_groups", "Groups in the log.", lambda: len(log.groups)),
        Gauge("pushd_memberships", "Members of all groups.", lambda: log.groups.memberships),
        Gauge("pushd_revocations", "Revocations in the log.", lambda: len(log.revocations)),
        Gauge(
            "pushd_channels_falling_out",
            "Channels with an active device that lacks messages of the last part of the window.",
            lambda: _by_namespace(hub, log.falling_out()),
            "namespace",
        ),
        Gauge(
            "pushd_channels_held",
            "Channels that keep more than usual, for slow devices (hold_age).",
            lambda: _by_namespace(hub, log.held_channels()),
            "namespace",
        ),
    )


def _of_the_disk(hub: Hub) -> tuple[Gauge, ...]:
    def gauge(name: str, help_: str, member: str) -> Gauge:
        return Gauge(name, help_, _statistic(hub, member))

    return (
        gauge("pushd_backlog_bytes", "Messages that wait for the disk.", "backlog_bytes"),
        gauge("pushd_waiting_reads", "Reads that wait for the disk.", "waiting_reads"),
        gauge("pushd_unwritten_marks", "Delivered and read marks not on disk yet.", "dirty_marks"),
        gauge("pushd_wal_bytes", "Size of the -wal file.", "wal_bytes"),
        gauge("pushd_database_bytes", "Size of the database file.", "database_bytes"),
        gauge(
            "pushd_database_reusable_bytes",
            "Of the database file: swept, and written over before the file grows.",
            "reusable_bytes",
        ),
        gauge("pushd_disk_free_bytes", "Free on the disk of the log.", "free_bytes"),
        Gauge(
            "pushd_disk_reserve_bytes",
            "With less than this free, publishes are refused (min_free_disk).",
            lambda: hub.settings.min_free_disk,
        ),
        gauge(
            "pushd_unswept_channels",
            "Channels, live and deleted, whose removed messages are still on disk.",
            "garbage",
        ),
        gauge(
            "pushd_damaged_parts",
            "Channels, and kinds of upkeep, left alone as they met a damaged page.",
            "damaged",
        ),
        gauge(
            "pushd_age_retention_paused",
            "1 while nothing is removed for its age, because the clock is not believed.",
            "age_waits",
        ),
    )


def _by_namespace(hub: Hub, heads: list[Head]) -> dict[str, float]:
    """Of those that have rules; the others together, without a name."""
    counts = Counter(hub.namespaces.name_of(head.channel) for head in heads)
    return {"": 0.0, **counts}


def _of_keys(hub: Hub) -> tuple[Gauge, ...]:
    def ages() -> dict[str, float]:
        found: dict[str, float] = {}
        for source in hub.key_sources.current:
            place = str(source.place)
            found[place] = max(source.age_s, found.get(place, 0.0))
        return found

    return (
        Gauge(
            "pushd_key_set_age_seconds",
            "Since a key set was last fetched or read; infinite if it never was.",
            ages,
            "place",
        ),
        Gauge(
            "pushd_auth_identities",
            "Answers of auth_url that are remembered.",
            lambda: len(hub.hook.known),
        ),
        Gauge("pushd_auth_questions", "Not yet answered by auth_url.", lambda: hub.hook.asking),
    )


def _timings(hub: Hub) -> tuple[Timing, ...]:
    log = hub.log
    return (
        Timing(
            "pushd_commit_seconds",
            "From BEGIN to the end of the sync, per batch.",
            lambda: log.statistics().commit_seconds,
        ),
        Timing(
            "pushd_batch_messages",
            "Messages of one commit.",
            lambda: log.statistics().batch_messages,
        ),
    )


def _totals(hub: Hub) -> tuple[Total, ...]:
    def total(name: str, help_: str, member: str) -> Total:
        return Total(name, help_, _statistic(hub, member))

    return (
        total(
            "pushd_cut_messages",
            "Messages removed by retention, trims and deletions; the disk is swept later.",
            "cut_messages",
        ),
        total("pushd_swept_messages", "Removed messages that left the disk.", "swept_messages"),
        total("pushd_deleted_channels", "Channels deleted.", "deleted_channels"),
        total("pushd_checkpoints", "Moves from the -wal file to the database.", "checkpoints"),
        *hub.nodes.totals,
    )


def _statistic(hub: Hub, member: str) -> Callable[[], float]:
    return lambda: float(getattr(hub.log.statistics(), member))
