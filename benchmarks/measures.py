"""How each thing is measured: starts a server afresh, runs the generator once, picks figures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import generator, servers
from benchmarks.generator import BenchmarkError, Result

Figures = dict[str, float]
Start = Callable[[Path], AbstractContextManager[servers.Server]]


@dataclass(frozen=True)
class Sizes:
    """How much is done; the targets are meant for the defaults."""

    subscribers: int = 5000
    polls: int = 2000
    idle: int = 5000
    watched: int = 100_000
    vanishing: int = 10_000
    seconds: float = 5.0
    publishes: int = 5
    storm_seconds: float = 30.0
    storm_rate: int = 10_000
    storm_subscribers: int = 500
    storm_muted: int = 50
    log_bytes: int = 1 << 30
    people: int = 10_000
    hops: int = 500
    held_at_edge: int = 1000
    increments: int = 60


FULL = Sizes()
QUICK = Sizes(
    subscribers=1000,
    polls=500,
    idle=1000,
    watched=10_000,
    vanishing=1000,
    seconds=2.0,
    publishes=3,
    storm_seconds=8.0,
    log_bytes=100 << 20,
    people=1_000,
    hops=100,
    held_at_edge=300,
    increments=5,
)


Measure = Callable[[Sizes, Path], Figures]


def demand(result: Result, **wanted: object) -> None:
    """Figures of a run that lost something are worth nothing."""
    wrong = {name: result[name] for name, value in wanted.items() if result[name] != value}
    if wrong:
        raise BenchmarkError(f"{result['mode']}: wanted {wanted}, got {wrong}")


def micros(result: Result, key: str, count: float) -> float:
    return float(result[key]) * 1e6 / count if count else 0.0


def fanout(start: Start) -> Measure:
    def measure(sizes: Sizes, scratch: Path) -> Figures:
        with start(scratch) as server:
            result = generator.run(
                "fanout", server.options, connections=sizes.subscribers, rounds=sizes.publishes
            )
        demand(result, failed=0, faults=0)
        rounds = result["rounds"]
        if missing := sum(one["missing"] for one in rounds):
            raise BenchmarkError(f"fanout: {missing} frames never came")
        return {
            "frames/s": median(one["frames_per_s"] for one in rounds),
            "first frame, ms": median(one["first_s"] for one in rounds) * 1e3,
            "last frame, ms": median(one["last_s"] for one in rounds) * 1e3,
            "publish acked, ms": median(one["acked_s"] for one in rounds) * 1e3,
            "CPU µs/frame": median(micros(one, "server_cpu_s", one["got"]) for one in rounds),
            "generator µs/frame": median(micros(one, "own_cpu_s", one["got"]) for one in rounds),
        }

    return measure


def polls(start: Start) -> Measure:
    def measure(sizes: Sizes, scratch: Path) -> Figures:
        with start(scratch) as server:
            result = generator.run(
                "polls", server.options, connections=sizes.polls, rounds=sizes.publishes
            )
        demand(result, connections=sizes.polls, refused=0, lost=0)
        rounds = result["rounds"]
        if any(one["answered"] != sizes.polls for one in rounds):
            raise BenchmarkError("polls: not every held poll was answered")
        return {
            "answers/s": median(one["answers_per_s"] for one in rounds),
            "first answer, ms": median(one["first_s"] for one in rounds) * 1e3,
            "last answer, ms": median(one["last_s"] for one in rounds) * 1e3,
            "CPU µs/poll+answer": median(
                micros(one, "server_cpu_s", sizes.polls)
                + micros(one, "ask_server_cpu_s", sizes.polls)
                for one in rounds
            ),
        }

    return measure


def pull(start: Start) -> Measure:
    def measure(sizes: Sizes, scratch: Path) -> Figures:
        with start(scratch) as server:
            result = generator.run(
                "pull", server.options, connections=16, preload=3, seconds=sizes.seconds
            )
        demand(result, messages_each=3, refused=0, lost=0)
        return {
            "answers/s": result["answers_per_s"],
            "p50, ms": result["latency_p50_s"] * 1e3,
            "p99, ms": result["latency_p99_s"] * 1e3,
            "CPU µs/answer": micros(result, "server_cpu_s", result["answers"]),
        }

    return measure


def publish(start: Start, connections: int) -> Measure:
    def measure(sizes: Sizes, scratch: Path) -> Figures:
        with start(scratch) as server:
            result = generator.run(
                "publish", server.options, connections=connections, seconds=sizes.seconds
            )
        demand(result, refused=0, lost=0, sent=result["acked"] + result["acked_late"])
        return {
            "acked/s": result["acked_per_s"],
            "p50, ms": result["ack_p50_s"] * 1e3,
            "p99, ms": result["ack_p99_s"] * 1e3,
            "CPU µs/message": micros(result, "server_cpu_s", result["acked"]),
        }

    return measure


def idle(start: Start) -> Measure:
    def measure(sizes: Sizes, scratch: Path) -> Figures:
        with start(scratch) as server:
            result = generator.run(
                "idle", server.options, connections=sizes.idle, warm=200, settle=1
            )
        demand(result, connections=sizes.idle, failed=0, faults=0, still_up=sizes.idle + 200)
        return {
            "kB each": result["kb_each"],
            "handshakes/s": result["handshakes_per_s"],
            "CPU µs/handshake": micros(result, "server_cpu_s", sizes.idle),
        }

    return measure
