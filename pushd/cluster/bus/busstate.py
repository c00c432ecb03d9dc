"""How Redis is, as operators see it: in the log, in metrics, in ``GET /v1/nodes``."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import structlog

from pushd.metrics import Gauge, Total

log = structlog.get_logger("pushd.cluster")

CALM_S: Final = 10.0  # between two lines about losses
QUIET_S: Final = 60.0  # between two of one outage


@dataclass
class BusState:
    """Changed on the loop only. ``since``: Unix seconds, of the last change of ``connected``.

    ``error``: the last one, kept while connected until a pipeline has none. ``rtt_ms``: of the last
    pipeline. Heads are counted, not messages. ``lost``: heads that were not said, or not heard;
    ``ignored``: texts that nobody with the key has written, or that are none.
    """

    shown: str
    connected: bool = False
    since: float = field(default_factory=time.time)
    error: str = ""
    rtt_ms: float = 0.0
    hints_out: int = 0
    hints_in: int = 0
    lost: int = 0
    ignored: int = 0
    losses: int = 0  # of a connection
    emptied: int = 0
    _told: float = field(default=-math.inf, repr=False)
    _untold: int = field(default=0, repr=False)
    _line: str = field(default="", repr=False)  # what the log said last

    @property
    def word(self) -> str:
        """For people: ``connected``, or ``reconnecting``."""
        return "connected" if self.connected else "reconnecting"

    def as_dict(self) -> dict[str, Any]:
        """For ``GET /v1/nodes``."""
        members = {key: value for key, value in asdict(self).items() if not key.startswith("_")}
        del members["connected"]
        return {"state": self.word, **members, "rtt_ms": round(self.rtt_ms, 2)}

    def found(self) -> None:
        """There is a connection, and there was none."""
        self.connected, self.since, self.error = True, time.time(), ""
        if self._line != self.word:
            self._line = self.word
            log.info("redis is connected", redis=self.shown)

    def failed(self, error: Exception, now: float) -> None:
        """There is none, or could not be made. ``now``: seconds on any clock."""
        text = str(error) or type(error).__name__
        new = self.connected or not self.error
        if self.connected:
            self.connected, self.since = False, time.time()
            self.losses += 1
        if new or text != self.error:
            self._untold += 1
        self.error = text
        if self._untold and now - self._told >= (CALM_S if new else QUIET_S):
            times, self._told, self._untold, self._line = self._untold, now, 0, self.word
            log.warning("redis is away; trying again", redis=self.shown, error=text, times=times)

    def said(self, heads: int, seconds: float, refused: str | None) -> None:
        """A pipeline was answered. ``refused``: why Redis will not do what it is asked for."""
        self.hints_out += heads
        if not self.connected or not seconds:
            return
        self.rtt_ms = seconds * 1000
        if refused is not None and refused != self.error:
            log.error("redis refuses a command", redis=self.shown, error=refused)
        self.error = refused or ""

    def ignore(self, what: str, name: str) -> None:
        """A text that is not what it should be; said once, then counted."""
        if not self.ignored:
            log.warning(
                "redis holds what no node of this cluster wrote",
                what=what,
                name=name,
                cure="Give all nodes the same cluster_key, and each cluster its own cluster_name.",
            )
        self.ignored += 1


def gauges(state: BusState) -> tuple[Gauge, ...]:
    """What Prometheus is told of this moment."""
    return (
        Gauge(
            "pushd_redis_connected",
            "1 while Redis is connected, else 0.",
            lambda: float(state.connected),
        ),
        Gauge(
            "pushd_redis_round_trip_seconds",
            "Of the last commands that were sent to Redis.",
            lambda: state.rtt_ms / 1000,
        ),
    )


def totals(state: BusState) -> tuple[Total, ...]:
    """What Prometheus is told of all that was."""

    def total(name: str, help_: str, member: str) -> Total:
        return Total(f"pushd_redis_{name}", help_, lambda: float(getattr(state, member)))

    return (
        total("hints_sent", "Heads of channels told to other nodes.", "hints_out"),
        total("hints_received", "Heads of channels that other nodes told.", "hints_in"),
        total("hints_lost", "Heads not told, or not heard: nodes ask the owner then.", "lost"),
        total("losses", "Times that Redis was connected, and then was not.", "losses"),
        total("emptied", "Times that Redis had forgotten everything.", "emptied"),
        total("ignored", "Records in Redis that no node of this cluster has signed.", "ignored"),
    )
