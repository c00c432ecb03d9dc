"""Whether a channel holds more than it may, as far as its head can tell."""

from __future__ import annotations

from pushd.core.namespaces import Retention
from pushd.log.expire import Bounds, Due
from pushd.log.requests import Head


def is_near(head: Head, keep: Retention, now_ms: int, spare_ms: int) -> bool:
    """Its window has messages of its last part, or will have some soon. Of very many channels
    nothing more than this is asked.

    ``spare_ms``: so much sooner it counts, at least.
    """
    age_s, messages, bytes_, _, last = keep
    first = head.first
    part = 1 - 1.5 * last
    return first <= head.seq and (
        (age_s is not None and head.first_at < now_ms - age_s * part * 1000)
        or (messages is not None and head.seq - first >= messages * part - 1)
        or (bytes_ is not None and head.bytes > bytes_ * part)
        or (age_s is not None and head.first_at < now_ms - age_s * (1 - last) * 1000 + spare_ms)
    )


def due_of(head: Head, keep: Retention, now: float | None) -> Due | None:
    """``now``: Unix seconds; None: nothing is too old."""
    first, seq = head.first, head.seq
    if first > seq:
        return None
    age_s, messages, bytes_, hold, _ = keep
    oldest_at = None if now is None or age_s is None else int((now - age_s) * 1000)
    if oldest_at is not None and head.first_at >= oldest_at:
        oldest_at = None
    if messages is not None and seq - first < messages:
        messages = None
    if bytes_ is not None and head.bytes <= bytes_:
        bytes_ = None
    if oldest_at is None and messages is None and bytes_ is None:
        return None
    usual = Bounds(oldest_at, messages, bytes_)
    if hold is None:
        return Due(head.channel, head.log_id, usual)
    hard_at = None if now is None else int((now - hold.age_s) * 1000)
    return Due(head.channel, head.log_id, usual, Bounds(hard_at, hold.messages, hold.bytes))


def is_beyond(head: Head, bounds: Bounds) -> bool:
    """It exceeds one of them."""
    oldest_at, messages, bytes_ = bounds
    return (
        (oldest_at is not None and head.first_at < oldest_at)
        or (messages is not None and head.seq - head.first >= messages)
        or (bytes_ is not None and head.bytes > bytes_)
    )
