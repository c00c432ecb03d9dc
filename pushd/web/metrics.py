"""What /metrics shows: the counters, and gauges read at that moment."""

from __future__ import annotations

from pushd.hub import Hub
from pushd.metrics import Gauge, PushdCollector, Timing


def make_collector(hub: Hub) -> PushdCollector:
    log = hub.log
    gauges = [
        Gauge("pushd_sessions", "Live sessions.", lambda: len(hub.sessions.by_id)),
        Gauge(
            "pushd_users_online", "Users with a live session.", lambda: len(hub.sessions.by_user)
        ),
        Gauge("pushd_connections", "Open connections.", lambda: hub.connections),
        Gauge("pushd_held_polls", "Pulls that wait.", lambda: len(hub.pulls.held)),
        Gauge("pushd_topics", "Channels that somebody follows.", lambda: len(hub.fanout.topics)),
        Gauge("pushd_channels", "Channels in the log.", lambda: len(log.heads)),
        Gauge("pushd_tail_bytes", "Memory of tails and answers.", lambda: hub.tails.size),
        Gauge(
            "pushd_backlog_bytes",
            "Messages that wait for the disk.",
            lambda: log.statistics().backlog_bytes,
        ),
        Gauge("pushd_wal_bytes", "Size of the -wal file.", lambda: log.statistics().wal_bytes),
        Gauge("pushd_loop_lag_seconds", "Lateness of the wheel's last tick.", lambda: hub.lag_s),
    ]
    commits = Timing(
        "pushd_commit_seconds",
        "From BEGIN to the end of the sync, per batch.",
        lambda: log.statistics().commit_seconds,
    )
    return PushdCollector(hub.counters, gauges, [commits])
