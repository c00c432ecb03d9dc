"""Numbers a batch of appends: decisions over what the store knows, nothing written yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from pushd.core.messages import DEFAULT_TYPE, encode_message, message_id
from pushd.core.positions import next_epoch
from pushd.errors import BadRequest, Conflict, PushdError
from pushd.log.drafts import digest_of, is_text
from pushd.log.idclock import DAY_MS, IdClock
from pushd.log.requests import MESSAGE_OVERHEAD, Append, Stored
from pushd.log.rows import Moved, Row
from pushd.log.store import IdKey, Rows, Store

# Cached channel rows. Beyond it the cache starts again: a look-up costs microseconds.
MAX_CACHED: Final = 100_000

# What was stored first under an id: epoch, seq, at, digest.
First = tuple[str, int, int, bytes]
Result = tuple[Append, list[Stored] | PushdError]


class Decided(NamedTuple):
    """What to write, what the loop will hear of it, and the answers, in that order."""

    rows: Rows
    moved: list[Moved]
    results: list[Result]


class Decider:
    """Keeps what the writer knows between batches. After a failed batch: ``forget()``."""

    def __init__(self, store: Store, last_epoch: str | None, clock: IdClock) -> None:
        self._store = store
        self._last_epoch = last_epoch
        self._committed_epoch = last_epoch
        self._last_id = store.last_id()
        self._clock = clock
        self._channels: dict[str, Row] = {}
        # Of this batch.
        self._number = 0
        self._now = 0
        self._id_now = 0
        self._rows = Rows()
        self._touched: list[tuple[str, Row]] = []
        # Ids found on disk or used by the batch itself: (channel, publisher, id).
        self._used: dict[tuple[str, str, str], First] = {}

    def decide(self, appends: list[Append], now_ms: int) -> Decided:
        """``now_ms``: the wall clock, for ``at``. Ids age by the steady one."""
        try:
            return self._decide(appends, now_ms)
        except UnicodeEncodeError:
            # One slipped past the checks at the door. It must not harm the others, and may have
            # left half of itself here: decide again without it.
            self.forget()
            fit = [append for append in appends if is_text(append)]
            if len(fit) == len(appends):
                raise
            decided = self._decide(fit, now_ms)
            why = "A text of the message is not valid Unicode."
            unfit = [append for append in appends if not is_text(append)]
            return decided._replace(
                results=[*decided.results, *((append, BadRequest(why)) for append in unfit)]
            )

    def _decide(self, appends: list[Append], now_ms: int) -> Decided:
        self._begin(now_ms)
        self._find_used(appends)
        results: list[Result] = []
        for append in appends:
            try:
                results.append((append, self._take(append)))
            except Conflict as refusal:
                results.append((append, refusal))
        return self._finish(results)

    def committed(self) -> None:
        """The batch is on disk: its epochs are given out."""
        self._committed_epoch = self._last_epoch

    def forget(self) -> None:
        """The batch was not stored: the database alone knows."""
        self._channels.clear()
        self._last_epoch = self._committed_epoch
        self._last_id = self._store.last_id()

    def forget_channels(self, names: Iterable[str]) -> None:
        """They were changed by something else than a batch of appends."""
        for name in names:
            self._channels.pop(name, None)

    def _begin(self, now_ms: int) -> None:
        self._number += 1
        self._now = now_ms
        self._id_now = self._clock.now_ms()
        self._rows = Rows()
        self._touched = []
        self._used = {}
        if len(self._channels) > MAX_CACHED:
            self._channels.clear()

    def _take(self, append: Append) -> list[Stored]:
        """All entries or, by Conflict before anything is changed, none."""
        digests = self._check_ids(append)
        publisher = append.publisher
        messages = self._rows.messages
        stored = []
        for channel, draft in append.entries:
            id_ = draft.id
            if id_ is not None:
                used = self._used.get((channel, publisher, id_))
                if used is not None:
                    stored.append(Stored(channel, used[0], used[1], id_, used[2], True))
                    continue
            row = self._channels.get(channel) or self._open(channel)
            if row.batch != self._number:
                self._touch(channel, row)
            row.head = seq = row.head + 1
            # A clock that was set back does not make a channel's times fall.
            at = row.last_at
            if self._now > at:
                row.last_at = at = self._now
            epoch, type_, sender, data = row.epoch, draft.type, draft.sender, draft.data
            stored_type = None if type_ == DEFAULT_TYPE else type_
            messages.append((row.log_id, seq, at, stored_type, sender, id_, data))
            row.added += len(data) + MESSAGE_OVERHEAD
            row.encoded.append(encode_message(seq, epoch, type_, id_, sender, at, data))
            stored.append(Stored(channel, epoch, seq, message_id(epoch, seq, id_), at, False))
            if id_ is not None:
                self._use(row, channel, publisher, id_, (epoch, seq, at, digests[channel, id_]))
        return stored

    def _touch(self, channel: str, row: Row) -> None:
        row.batch = self._number
        if not row.epoch:
            self._begin_life(row)
        row.start = row.head + 1
        if row.head < row.first:
            row.first_at = max(row.last_at, self._now)
        row.encoded = []
        self._touched.append((channel, row))

    def _begin_life(self, row: Row) -> None:
        """With messages, and an epoch, of its own; later than all that were given out."""
        self._last_epoch = row.epoch = next_epoch(self._last_epoch, self._now)
        if not row.log_id:
            self._last_id += 1
            row.log_id = self._last_id
        row.head, row.first, row.begun = 0, 1, True

    def _check_ids(self, append: Append) -> dict[tuple[str, str], bytes]:
        """Digest of each entry with an id. Conflict when an id stands for another body."""
        digests: dict[tuple[str, str], bytes] = {}
        for channel, draft in append.entries:
            id_ = draft.id
            if id_ is None:
                continue
            digest = digest_of(draft)
            # The same id twice within one append counts as well.
            known = digests.setdefault((channel, id_), digest)
            used = self._used.get((channel, append.publisher, id_))
            if digest != (known if used is None else used[3]):
                raise Conflict(
                    f"The id {id_!r} was used in channel {channel!r} not long ago for a message"
                    " with another type, sender or data."
                )
        return digests

    def _find_used(self, appends: list[Append]) -> None:
        """Looks up all ids of the batch that may have been used before it."""
        channels: dict[int, str] = {}
        keys: list[IdKey] = []
        today = self._id_now // DAY_MS
        days = range(max(today - self._clock.days_back, self._clock.oldest), today + 1)
        for append in appends:
            publisher = append.publisher
            for channel, draft in append.entries:
                id_ = draft.id
                if id_ is not None:
                    row = self._channels.get(channel) or self._load(channel)
                    if row is not None:
                        channels[row.channel_id] = channel
                        keys += [(day, row.channel_id, publisher, id_) for day in days]
        if not keys:
            return
        used_after = self._id_now - self._clock.window_ms
        for used in self._store.find_ids(keys, used_after):
            channel_id, publisher, id_, epoch, seq, at, digest = used
            self._used[channels[channel_id], publisher, id_] = (epoch, seq, at, digest)

    def _use(self, row: Row, channel: str, publisher: str, id_: str, used: First) -> None:
        self._used[channel, publisher, id_] = used
        self._rows.ids.append(
            (self._id_now // DAY_MS, row.channel_id, publisher, id_, *used, self._id_now)
        )

    def _load(self, channel: str) -> Row | None:
        found = self._store.find_channel(channel)
        if found is None:
            return None
        self._channels[channel] = row = Row(*found)
        return row

    def _open(self, channel: str) -> Row:
        row = self._load(channel)
        if row is None:
            self._last_id += 1
            # The first life of a name shares its number.
            row = Row(self._last_id, self._last_id, None, 0, 1, 0)
            self._channels[channel] = row
        return row

    def _finish(self, results: list[Result]) -> Decided:
        rows = self._rows
        moved = []
        for channel, row in self._touched:
            channel_id, log_id, epoch = row.channel_id, row.log_id, row.epoch
            head, last_at, added, first_at = row.head, row.last_at, row.added, row.first_at
            if row.begun:
                row.begun = False
                assert first_at is not None
                rows.begun_channels.append(
                    (channel_id, channel, log_id, epoch, head, last_at, added, first_at)
                )
                rows.last = epoch, self._last_id
            else:
                rows.moved_channels.append((head, last_at, added, channel_id))
                if first_at is not None:
                    rows.refilled_channels.append((first_at, channel_id))
            moved.append(
                Moved(
                    *(channel, channel_id, log_id, epoch, head, last_at),
                    *(row.start, row.encoded, added, first_at),
                )
            )
            row.encoded, row.added, row.first_at = [], 0, None
        return Decided(rows, moved, results)
