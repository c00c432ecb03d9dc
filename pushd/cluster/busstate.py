"""How Redis is, as operators see it: in the log, in metrics, in ``GET /v1/nodes``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import structlog

from pushd.metrics import Gauge

log = structlog.get_logger("pushd.cluster")

CALM_S: Final = 10.0  # between two lines about losses


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
    _told: float = field(default=-CALM_S, repr=False)
    _untold: int = field(default=0, repr=False)

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
        if not self._untold:
            log.info("redis is connected", redis=self.shown)

    def failed(self, error: Exception) -> None:
        """There is none, or could not be made."""
        first = self.connected or not self.error
        self.losses += self.connected
        if self.connected:
            self.connected, self.since = False, time.time()
        changed = self.error != str(error)
        self.error = str(error) or type(error).__name__
        now = time.monotonic()
        if now - self._told < CALM_S:
            self._untold += 1
        elif first or changed:
            log.warning("redis is away; trying again", redis=self.shown, error=self.error)
            self._told, self._untold = now, 0

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
            log.warning("redis holds what no node of this cluster wrote", what=what, name=name)
        self.ignored += 1


def gauges(state: BusState) -> list[Gauge]:
    """What Prometheus is told beside the counters."""
    return [
        Gauge("redis_connected", "Whether Redis is connected.", lambda: float(state.connected)),
        Gauge(
            "redis_round_trip_seconds",
            "How long the last pipeline took.",
            lambda: state.rtt_ms / 1000,
        ),
    ]
