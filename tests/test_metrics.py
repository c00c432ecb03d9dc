"""Counters, distributions and their Prometheus text."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from pushd import __version__, log
from pushd.log.statistics import SECONDS, Tally
from pushd.metrics import Counters, Gauge, PushdCollector, Timing


def rendered(collector: PushdCollector) -> dict[str, Metric]:
    families = text_string_to_metric_families(collector.render().decode())
    return {family.name: family for family in families}


def value(collector: PushdCollector, sample: str, **labels: str) -> float:
    for family in rendered(collector).values():
        for found in family.samples:
            if found.name == sample and found.labels == labels:
                return found.value
    raise AssertionError(f"no {sample} {labels}")


@pytest.mark.parametrize("name", [item.name for item in fields(Counters)])
def test_every_counter_is_rendered(name: str) -> None:
    counters = Counters()
    collector = PushdCollector(counters)
    if name == "errors":
        counters.errors["forbidden"] += 7
        assert value(collector, "pushd_errors_total", code="forbidden") == 7
        return
    setattr(counters, name, 7)
    sevens = [
        sample.name
        for family in rendered(collector).values()
        for sample in family.samples
        if sample.value == 7 and sample.name.startswith("pushd_")
    ]
    assert len(sevens) == 1


def test_names_and_helps_follow_the_practice() -> None:
    """Base units, one prefix, a help text; counters end in _total (the parser cuts that off)."""
    gauges = [Gauge("pushd_sessions", "Live sessions.", lambda: 1)]
    timings = [Timing("pushd_commit_seconds", "Commits.", Tally(SECONDS).snapshot)]
    for name, family in rendered(PushdCollector(Counters(), gauges, timings)).items():
        assert re.fullmatch(r"(pushd|process)_[a-z][a-z_]*[a-z]", name), name
        assert not re.search(r"_(ms|kb|total|count|milliseconds)$", name), name
        assert family.documentation.endswith("."), name
        if "byte" in family.documentation.lower() and family.type == "counter":
            assert name.endswith("_bytes")


def test_gauges_are_read_when_asked() -> None:
    live = {"ws": 1}
    calls = []
    gauges = [
        Gauge("pushd_sessions", "Live sessions.", lambda: live, "transport"),
        Gauge("pushd_channels", "Channels.", lambda: calls.append(1) or 5),
    ]
    collector = PushdCollector(Counters(), gauges)
    assert calls == []  # not while things start
    live["sse"] = 4
    assert value(collector, "pushd_sessions", transport="sse") == 4
    assert value(collector, "pushd_channels") == 5
    assert value(collector, "pushd_build_info", version=__version__) == 1


def test_two_collectors_do_not_meet() -> None:
    one, two = Counters(publishes=1), Counters(publishes=2)
    assert value(PushdCollector(one), "pushd_publishes_total") == 1
    assert value(PushdCollector(two), "pushd_publishes_total") == 2


@given(st.lists(st.floats(0, 100) | st.sampled_from(SECONDS)))
def test_a_bucket_counts_what_is_at_most_its_bound(observed: list[float]) -> None:
    tally = Tally(SECONDS)
    for seconds in observed:
        tally.add(seconds)
    histogram = tally.snapshot()
    assert histogram.total == pytest.approx(sum(observed))
    for bound, count in histogram.buckets():
        assert count == sum(seconds <= float(bound) for seconds in observed)


def test_a_histogram_is_rendered_with_sum_and_count() -> None:
    tally = Tally(SECONDS)
    for seconds in (0.001, 0.002, 99.0):
        tally.add(seconds)
    timings = [Timing("pushd_commit_seconds", "Commits.", tally.snapshot)]
    collector = PushdCollector(Counters(), timings=timings)
    assert value(collector, "pushd_commit_seconds_bucket", le="0.001") == 1
    assert value(collector, "pushd_commit_seconds_bucket", le="10.0") == 2
    assert value(collector, "pushd_commit_seconds_bucket", le="+Inf") == 3
    assert value(collector, "pushd_commit_seconds_count") == 3
    assert value(collector, "pushd_commit_seconds_sum") == pytest.approx(99.003)


def test_distributions_of_others_keep_their_bounds() -> None:
    """The log's snapshot: a frozen object, here with a bound that is no duration."""
    batches = log.Histogram(bounds=(1.0, 512.0), counts=(3, 2, 1), total=1540.0)
    timings = [Timing("pushd_batch_messages", "Messages of a commit.", lambda: batches)]
    collector = PushdCollector(Counters(), timings=timings)
    assert value(collector, "pushd_batch_messages_bucket", le="512.0") == 5
    assert value(collector, "pushd_batch_messages_count") == 6


@pytest.mark.parametrize("name", ["publish", "publishess"])
def test_a_misspelt_counter_is_an_error(name: str) -> None:
    """Slots: a typo on the hot path must not count into nowhere."""
    with pytest.raises(AttributeError):
        setattr(Counters(), name, 1)
