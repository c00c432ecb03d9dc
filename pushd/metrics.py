"""What pushd counts, and how Prometheus reads it.

The hot path adds to plain integers; text is made only when somebody asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, NamedTuple, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pushd import __version__

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class Stored(Protocol):
    """As much of a publish's result as is counted."""

    @property
    def duplicate(self) -> bool: ...


def _count(help_: str, name: str | None = None) -> int:
    """An integer from 0. ``name``: when Prometheus's unit rules ask for another one."""
    value: int = field(default=0, metadata={"help": help_, "name": name})
    return value


@dataclass(slots=True)
class Counters:
    """Counted since the start of the process; they only rise. One object per node."""

    publishes: int = _count("Publish requests that were acked.")
    messages: int = _count("Messages committed to disk.")
    duplicates: int = _count("Messages acked again without being stored again.")
    pulls: int = _count("Pulls answered, held ones included.")
    pulls_cached: int = _count("Pulls answered from memory, without reading the file.")
    resets: int = _count("Cursors answered with a reset, because no complete answer was possible.")
    polls_held: int = _count("Pulls that had to wait for something new.")
    polls_answered: int = _count("Held pulls that something new answered; the rest timed out.")
    waits: int = _count("Publishes that waited until a user has the message.")
    waits_delivered: int = _count("Publishes that waited until it was there; the rest timed out.")
    acks: int = _count("Cursors recorded as delivered by an ack.")
    hints_sent: int = _count("Hints written to a session.")
    hints_conflated: int = _count("Hints merged into a later one, because a session was slow.")
    fanout_passes: int = _count("Rounds through the subscribers of a channel.")
    frames_in: int = _count("WebSocket frames received.", "frames_received")
    bytes_in: int = _count("Bytes received over HTTP.", "received_bytes")
    bytes_out: int = _count("Bytes sent.", "sent_bytes")
    requests: int = _count("HTTP requests.")
    handshakes: int = _count("WebSocket handshakes completed.")
    handovers: int = _count("Connections handed over to the web framework.")
    passed_on: int = _count("Requests that an edge has passed on to the owner.")
    connections_accepted: int = _count("Connections accepted.")
    connections_refused: int = _count("Connections refused because a limit was reached.")
    shed: int = _count("Connections and sessions refused because the event loop was late.")
    presence_told: int = _count("Joins and leaves told in presence channels.")
    heartbeats_missed: int = _count("Sessions closed because their heartbeat stopped.")
    calls: int = _count("Calls of clients that the application was asked to answer.")
    calls_failed: int = _count("Calls that were answered by an error.")
    peers_vanished: int = _count("Connections ended because the peer acknowledged nothing.")
    messages_told: int = _count("Messages that the application has taken from the webhook.")
    events_told: int = _count("Events that the application has taken from the webhook.")
    events_lost: int = _count("Events that the application was never told.")
    outbound_requests: int = _count("Requests sent to the application, each attempt counted.")
    outbound_failures: int = _count("Requests to the application that had no usable answer.")
    circuits_opened: int = _count("Times that an application was given up on for a while.")
    rates_exceeded: int = _count("Sessions closed because they went on beyond their rate.")
    auth_asked: int = _count("Questions put to auth_url, each once however often it was sent.")
    auth_known: int = _count("Tokens that auth_url had told of before, good or not.")
    auth_refused: int = _count("Questions that auth_url answered with a refusal.")
    auth_unusable: int = _count("Answers of auth_url that were of no use, see the log.")
    nodes_asked: int = _count("Requests of other nodes that only the owner of the log answers.")
    snapshots: int = _count("Times that another node began to read all channels and groups.")
    batches_repeated: int = _count("Batches of another node that had come before.")
    errors: Counter[str] = field(default_factory=Counter)  # by stable code, see errors.py

    def acked(self, stored: Sequence[Stored]) -> None:
        """One publish was acked, with these results."""
        self.publishes += 1
        for each in stored:
            if each.duplicate:
                self.duplicates += 1


class Gauge(NamedTuple):
    """Read when somebody asks. With a ``label``, ``read`` answers one value per label value."""

    name: str
    help: str
    read: Callable[[], float | Mapping[str, float]]
    label: str = ""


class Total(NamedTuple):
    """A count that something else keeps and that only rises. ``name`` without ``_total``."""

    name: str
    help: str
    read: Callable[[], float]


class Buckets(Protocol):
    """What a histogram has to show: cumulative (upper bound, count) pairs and the sum."""

    @property
    def total(self) -> float: ...

    def buckets(self) -> list[tuple[str, float]]: ...


class Timing(NamedTuple):
    """A histogram with its name, which ends in its unit (``_seconds``)."""

    name: str
    help: str
    read: Callable[[], Buckets]


class PushdCollector(Collector):
    """Turns what is counted and measured into metrics. ``render`` is the body of /metrics."""

    def __init__(
        self,
        counters: Counters,
        gauges: Sequence[Gauge] = (),
        timings: Sequence[Timing] = (),
        totals: Sequence[Total] = (),
    ) -> None:
        self._counters, self._gauges, self._timings = counters, gauges, timings
        self._totals = totals
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """None in advance: registering must not call gauges of parts that have not started."""
        return []

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("pushd_build_info", "Always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._collect_counters()
        for total in self._totals:
            yield CounterMetricFamily(total.name, total.help, value=total.read())
        for gauge in self._gauges:
            yield _gauge_metric(gauge)
        for timing in self._timings:
            histogram = timing.read()
            metric = HistogramMetricFamily(timing.name, timing.help)
            metric.add_metric([], histogram.buckets(), histogram.total)
            yield metric

    def _collect_counters(self) -> Iterator[Metric]:
        for item in fields(Counters):
            if item.name == "errors":
                continue
            name = f"pushd_{item.metadata['name'] or item.name}"
            value = getattr(self._counters, item.name)
            yield CounterMetricFamily(name, item.metadata["help"], value=value)
        errors = CounterMetricFamily("pushd_errors", "Refusals, by code.", labels=["code"])
        for code, count in sorted(self._counters.errors.items()):
            errors.add_metric([code], count)
        yield errors


def _gauge_metric(gauge: Gauge) -> Metric:
    value = gauge.read()
    if not isinstance(value, Mapping):
        return GaugeMetricFamily(gauge.name, gauge.help, value=value)
    metric = GaugeMetricFamily(gauge.name, gauge.help, labels=[gauge.label])
    for label, number in sorted(value.items()):
        metric.add_metric([label], number)
    return metric
