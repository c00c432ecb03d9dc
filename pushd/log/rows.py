"""A channel between what the disk says and what a batch makes of it."""

from __future__ import annotations

from typing import NamedTuple


class Row:
    """A channel as the writer sees it, the uncommitted changes of its batch included.

    ``epoch`` is "" while the channel is deleted (or not yet begun).
    """

    __slots__ = (
        "added",
        "batch",
        "begun",
        "channel_id",
        "encoded",
        "epoch",
        "first",
        "first_at",
        "head",
        "last_at",
        "log_id",
        "start",
    )

    def __init__(
        self,
        channel_id: int,
        log_id: int | None,
        epoch: str | None,
        head: int,
        first: int,
        last_at: int,
    ) -> None:
        self.channel_id = channel_id
        self.log_id = log_id or 0
        self.epoch = epoch or ""
        self.head = head
        self.first = first
        self.last_at = last_at
        # Of the batch: whether a life begins, the first message after none, and so on.
        self.begun = False
        self.first_at: int | None = None
        self.batch = 0
        self.start = 0
        self.added = 0
        self.encoded: list[bytes] = []


class Moved(NamedTuple):
    """A channel after the batch, for the loop to make a Head and an Advance of.

    ``added``: bytes. ``first_at``: when there was no message before, else None.
    """

    channel: str
    channel_id: int
    log_id: int
    epoch: str
    seq: int
    at: int
    start: int
    messages: list[bytes]
    added: int
    first_at: int | None
