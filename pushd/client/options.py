"""How to follow: numbers that have good defaults."""

from __future__ import annotations

from dataclasses import dataclass

from pushd.client.ladder import TransportKind


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """All times in seconds.

    ``transports``: what may bring hints, best first; with none of them all is done by held polls.
    ``interval_s``: a pull of everything that often in any case; left out, what the server advises
    (20 s). ``limit``: messages per channel and pull. ``wait_s``: how long a poll is held.
    ``ack_after_s``: processed positions are saved and acked in batches of that length.
    ``hello_s``, ``pong_s``: how long to wait for these before the connection counts as lost.
    """

    transports: tuple[TransportKind, ...] = ("websocket", "sse")
    interval_s: float | None = None
    limit: int = 500
    wait_s: float = 25.0
    ack_after_s: float = 1.0
    hello_s: float = 10.0
    pong_s: float = 10.0
