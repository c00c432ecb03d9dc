"""Whether a channel holds more than it may, as far as its head can tell."""

from __future__ import annotations

from pushd.core.namespaces import Retention
from pushd.log.expire import Bounds, Due
from pushd.log.requests import Head


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
