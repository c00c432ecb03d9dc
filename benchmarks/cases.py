"""What is compared with what, and the targets that pushd is held to."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import alone, clustering, measures, people, servers, vanishing, watching
from benchmarks.measures import Measure


@dataclass(frozen=True)
class Side:
    """One of those that are compared; ``measure`` starts it afresh and runs it once."""

    name: str
    measure: Measure


@dataclass(frozen=True)
class Target:
    """``figure`` of the first side: at least (or at most) ``bound``, of the second side's if
    ``ratio``."""

    figure: str
    bound: float
    at_most: bool = False
    ratio: bool = False
    why: str = ""


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    sides: list[Side]
    targets: list[Target]


CASES = [
    Case(
        "fanout",
        "one publish to {subscribers} WebSockets",
        [
            Side("pushd", measures.fanout(servers.pushd)),
            Side("await send_message", measures.fanout(servers.ws_naive)),
        ],
        [Target("frames/s", 5, ratio=True)],
    ),
    Case(
        "polls",
        "one publish answers {polls} held polls",
        [
            Side("pushd", measures.polls(servers.pushd)),
            Side("Quart", measures.polls(servers.quart_naive)),
        ],
        [Target("answers/s", 15, ratio=True)],
    ),
    Case(
        "pull",
        "small pulls, 16 connections",
        [
            Side("pushd", measures.pull(servers.pushd)),
            Side("Quart", measures.pull(servers.quart_naive)),
        ],
        [Target("answers/s", 15, ratio=True)],
    ),
    Case(
        "publish",
        "durable publishes",
        [
            Side("pushd, 64 connections", measures.publish(servers.pushd, 64)),
            Side("pushd, 1 connection", measures.publish(servers.pushd, 1)),
            Side("Quart, 64", measures.publish(servers.quart_naive, 64)),
        ],
        [Target("acked/s", 6, ratio=True, why="15,000/s where one connection gives 2,500")],
    ),
    Case(
        "idle",
        "{idle} idle WebSockets",
        [
            Side("pushd", measures.idle(servers.pushd)),
            Side("trio-websocket", measures.idle(servers.ws_naive)),
        ],
        [Target("kB each", 24, at_most=True)],
    ),
    Case(
        "watch",
        "{watched} sessions that beat every 25 s, looked at every 250 ms",
        [
            Side("pushd", watching.records(watching.Wheel)),
            Side("a scan of all", watching.records(watching.Scan)),
        ],
        [Target("% of a core", 3, at_most=True)],
    ),
    Case(
        "beat",
        "pings of 500 WebSockets",
        [Side("pushd", vanishing.beats)],
        [Target("CPU µs/ping", 150, at_most=True)],
    ),
    Case(
        "vanish",
        "{vanishing} WebSockets vanish at once",
        [Side("pushd", vanishing.vanish)],
        [Target("longest answer meanwhile, ms", 500, at_most=True)],
    ),
    Case(
        "storm",
        "{storm_rate} publishes/s, {storm_subscribers} subscribers, {storm_muted} never read",
        [Side("pushd", alone.storm)],
        [
            Target("acked/s", 9_900),
            Target("published to pulled p99, ms", 250, at_most=True),
            Target("memory growth in the second half, MB", 8, at_most=True),
        ],
    ),
    Case(
        "people",
        "{people} users with two sessions each: send to 1,000, list, kick everybody",
        [Side("pushd", people.people)],
        [
            Target("send to 1,000, ms", 100, at_most=True),
            Target("everybody kicked, s", 5, at_most=True),
        ],
    ),
    Case(
        "start",
        "start on a log of {log_mb} MB",
        [Side("pushd", alone.start)],
        [Target("exec to ready, s", 1, at_most=True)],
    ),
    Case(
        "cluster hop",
        "a publish at one node answers a poll held at another",
        [
            Side("edge to edge", clustering.hop(2)),
            Side("one node", clustering.hop(0)),
            Side("owner to edge", clustering.hop(1)),
        ],
        [Target("p99, ms", 3, at_most=True, ratio=True)],
    ),
    Case(
        "cluster pulls",
        "{held_at_edge} polls held at one edge, {increments} publishes",
        [Side("owner and edge", clustering.pulls)],
        [Target("owner's pulls per increment", 1.05, at_most=True)],
    ),
    Case(
        "cluster fanout",
        "one publish to {subscribers} WebSockets at edges of one port",
        [Side("two edges", clustering.fanout(2)), Side("one edge", clustering.fanout(1))],
        [Target("frames/s", 1.6, ratio=True)],
    ),
]
