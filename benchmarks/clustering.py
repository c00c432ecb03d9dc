"""Several nodes: how far a message is from one to another, and what an edge spares the owner."""

from __future__ import annotations

import http.client
import json
import re
import time
from pathlib import Path
from statistics import median, quantiles

from benchmarks import generator, servers
from benchmarks.clusters import cluster
from benchmarks.generator import BenchmarkError
from benchmarks.measures import Figures, Measure, Sizes, demand
from benchmarks.servers import MESSAGES, Server

HELD_S = 0.005  # until a poll that was sent is held
FIRST = 1  # the generator's own publish, from whose cursor its polls begin
_PULLS = re.compile(rb"^pushd_pulls_total (\S+)$", re.MULTILINE)


def hop(edges: int) -> Measure:
    """One publish at a time, and a held poll elsewhere: from sending the one to the other's
    answer. ``edges``: 2, from one to the other; 1, from the owner; 0, one node without Redis."""

    def measure(sizes: Sizes, scratch: Path) -> Figures:
        if edges == 0:
            with servers.pushd(scratch) as server:
                return _hop(server, server, sizes.hops)
        with cluster(scratch, edges) as nodes:
            source = nodes.edges[0] if edges > 1 else nodes.owner
            return _hop(source, nodes.edges[-1], sizes.hops)

    return measure


def _hop(source: Server, target: Server, count: int) -> Figures:
    publishing, polling = _connect(source), _connect(target)
    authorization = {"Authorization": f"Bearer {source.key}"}
    took, cursor = [], _publish(publishing, authorization)
    for number in range(count + 50):
        polling.request("GET", f"{MESSAGES}?after={cursor}&wait=20", headers=authorization)
        time.sleep(HELD_S)
        began = time.perf_counter()
        publishing.request("POST", MESSAGES, b'{"data":{"text":"hello"}}', authorization)
        page = json.loads(polling.getresponse().read())
        if number >= 50:  # what comes first is slower
            took.append((time.perf_counter() - began) * 1e3)
        acked = json.loads(publishing.getresponse().read())
        if [message["seq"] for message in page["messages"]] != [acked["seq"]]:
            raise BenchmarkError(f"{acked} was answered by {page}")
        cursor = page["next"]
    cuts = quantiles(took, n=100)
    return {"p99, ms": cuts[98], "p90, ms": cuts[89], "p50, ms": median(took)}


def _publish(connection: http.client.HTTPConnection, authorization: dict[str, str]) -> str:
    connection.request("POST", MESSAGES, b'{"data":0}', authorization)
    acked = json.loads(connection.getresponse().read())
    return f"{acked['epoch']}.{acked['seq']}"


def _connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=servers.READY_S)


def pulls(sizes: Sizes, scratch: Path) -> Figures:
    """Many polls at one edge are answered by each publish: what the owner is asked meanwhile."""
    with cluster(scratch, 1) as nodes:
        options = {**nodes.edges[0].options, "publish_port": nodes.owner.port}
        generator.run("polls", options, connections=sizes.held_at_edge, rounds=2)
        before = _pulls(nodes.owner)
        result = generator.run(
            "polls", options, connections=sizes.held_at_edge, rounds=sizes.increments
        )
        asked = _pulls(nodes.owner) - before
    demand(result, connections=sizes.held_at_edge, refused=0, lost=0)
    if any(one["answered"] != sizes.held_at_edge for one in result["rounds"]):
        raise BenchmarkError("not every held poll was answered")
    return {
        "owner's pulls per increment": asked / (sizes.increments + FIRST),
        "answers/s": median(one["answers_per_s"] for one in result["rounds"]),
    }


def _pulls(server: Server) -> float:
    connection = _connect(server)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {server.key}"})
    found = _PULLS.search(connection.getresponse().read())
    if found is None:
        raise BenchmarkError("no pushd_pulls_total in /metrics")
    return float(found[1])


def fanout(edges: int) -> Measure:
    """One publish at the owner to WebSockets that the kernel has spread over edges of one port."""

    def measure(sizes: Sizes, scratch: Path) -> Figures:
        with cluster(scratch, edges, shared=True) as nodes:
            options = {**nodes.edges[0].options, "publish_port": nodes.owner.port, "pid": None}
            result = generator.run(
                "fanout", options, connections=sizes.subscribers, rounds=sizes.publishes
            )
        demand(result, failed=0, faults=0)
        rounds = result["rounds"]
        if missing := sum(one["missing"] for one in rounds):
            raise BenchmarkError(f"fanout: {missing} frames never came")
        return {
            "frames/s": median(one["frames_per_s"] for one in rounds),
            "last frame, ms": median(one["last_s"] for one in rounds) * 1e3,
        }

    return measure
