"""What has no naive form to stand beside: the busy channel, and the start on a large log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import generator, servers
from benchmarks.generator import BenchmarkError
from benchmarks.measures import Figures, Sizes, demand

MAKE_LOG_S = 900


def storm(sizes: Sizes, scratch: Path) -> Figures:
    """Everybody who reads must get everything, in order and once; a run that lost any is void."""
    with servers.pushd(scratch) as server:
        r = generator.run(
            "storm",
            server.options,
            timeout=sizes.storm_seconds + 60,
            connections=sizes.storm_subscribers,
            muted=sizes.storm_muted,
            publishers=64,
            rate=sizes.storm_rate,
            seconds=sizes.storm_seconds,
        )
    nothing = (
        "gaps",
        "repeats",
        "malformed",
        "incomplete",
        "never_told",
        "readers_left",
        "refused",
    )
    demand(r, records=r["expected"], faults=0, **dict.fromkeys(nothing, 0))
    readers = sizes.storm_subscribers - sizes.storm_muted
    return {
        "acked/s": r["acked_per_s"],
        "acked p99, ms": r["ack_p99_s"] * 1e3,
        "published to pulled p50, ms": r["pulled_p50_s"] * 1e3,
        "published to pulled p99, ms": r["pulled_p99_s"] * 1e3,
        "published to pulled max, ms": r["pulled_max_s"] * 1e3,
        "messages pulled/s": r["records_per_s"],
        "messages a pull": r["records"] / max(r["pulls"], 1),
        "hints/s to each": r["hints"] / r["wall_s"] / readers,
        "memory at the end, MB": r["rss_4_4_kb"] / 1024,
        "memory growth in the second half, MB": (r["rss_4_4_kb"] - r["rss_2_4_kb"]) / 1024,
        "never-readers closed": r["muted_left"],
        "server's cores": r["server_cpu_s"] / r["wall_s"],
        "generator's cores": r["own_cpu_s"] / r["wall_s"],
    }


def make_log(directory: Path, size: int) -> None:
    """Another program's work; kept beside the scratch directories for the next round."""
    command = [sys.executable, "-m", "benchmarks.make_log", str(directory), "--size", str(size)]
    done = subprocess.run(
        command, cwd=servers.ROOT, capture_output=True, text=True, check=False, timeout=MAKE_LOG_S
    )
    if done.returncode:
        raise BenchmarkError(f"make_log failed:\n{done.stderr}")


def start(sizes: Sizes, scratch: Path) -> Figures:
    """From exec to ``/readyz`` 200; an empty log shows what the program itself needs."""
    log = scratch.parent / f"log-{sizes.log_bytes}"
    if not log.exists():
        make_log(log, sizes.log_bytes)
    with servers.pushd(scratch) as server:
        empty = server.ready_s
    with servers.pushd(scratch, log) as server:
        full = server.ready_s
    return {
        "exec to ready, s": full,
        "on an empty log, s": empty,
        "difference, s": full - empty,
    }
