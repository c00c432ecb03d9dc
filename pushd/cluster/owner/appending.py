"""Messages that were published at edges: stored here, each batch once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import structlog
import trio

from pushd.cluster.owner.batches import Batches, Key
from pushd.cluster.wire import (
    AppendBatch,
    AppendBody,
    AppendResult,
    AppendResults,
    EntryBody,
    Failure,
    StoredBody,
)
from pushd.core.messages import Draft
from pushd.core.names import SESSION_PREFIX, check_channel
from pushd.errors import BadRequest, PushdError
from pushd.hub import Hub
from pushd.log import Append, Entry, Own, Stored

log = structlog.get_logger("pushd.cluster")

_encode: Final = msgspec.json.Encoder().encode


class Appending:
    """``store`` answers once all of a batch is on disk, or refused."""

    def __init__(self, hub: Hub, generation: str) -> None:
        self._hub = hub
        self._generation = generation
        self.batches = Batches()

    def store(self, node: str, batch: AppendBatch, told: Callable[[bytes], None]) -> None:
        """``told`` gets the encoded results, maybe at once. Raises BadRequest."""
        if not all(append.entries for append in batch.appends):
            raise BadRequest("An append must have entries.")
        key = node, batch.batch
        if self.batches.is_new(key, told, trio.current_time()):
            _Storing(self, key, batch.appends).start(self._hub)
        else:
            self._hub.counters.batches_repeated += 1

    def finish(self, key: Key, results: list[AppendResult]) -> None:
        """All of it is answered for."""
        known = self._hub.audience.known
        answer = _encode(AppendResults(self._generation, results, known))
        self.batches.finish(key, answer, trio.current_time())


class _Storing:
    """One batch under way."""

    def __init__(self, appending: Appending, key: Key, appends: list[AppendBody]) -> None:
        self._appending = appending
        self._key = key
        self._appends = appends
        self._results: list[AppendResult] = [AppendResult() for _ in appends]
        self._missing = len(appends)

    def start(self, hub: Hub) -> None:
        for number, body in enumerate(self._appends):
            done = self._taker(hub, number, body.own)
            try:
                _look_at_sessions(hub, body.entries)
                hub.log.submit(Append(list(_entries(body)), body.publisher, done))
            except PushdError as error:
                done(error)
        if not self._appends:
            self._appending.finish(self._key, [])

    def _taker(
        self, hub: Hub, number: int, own: Own | None
    ) -> Callable[[list[Stored] | PushdError], None]:
        def done(result: list[Stored] | PushdError) -> None:
            if isinstance(result, PushdError):
                self._results[number].error = _failure(result)
            else:
                if own is not None:
                    _mark(hub, own, result)
                self._results[number].stored = _stored(hub, result)
            self._missing -= 1
            if not self._missing:
                self._appending.finish(self._key, self._results)

        return done


def _look_at_sessions(hub: Hub, entries: list[EntryBody]) -> None:
    """Raises NotFound for one that does not live. Of those of the edge it need not be heard yet."""
    for entry in entries:
        if entry.channel.startswith(SESSION_PREFIX):
            if entry.lives:
                hub.session_channels.vouch(entry.channel)
            else:
                hub.publisher.check_lives(entry.channel)


def _mark(hub: Hub, own: Own, stored: list[Stored]) -> None:
    for number in own.entries:
        try:
            hub.marking.read_own(own.user, stored[number], own.device, own.session)
        except Exception:  # it is stored, and must be answered for
            log.exception("a user's own message could not be marked as read")


def _entries(append: AppendBody) -> Iterator[Entry]:
    draft: Draft | None = None
    for each in append.entries:
        if data := bytes(each.data):
            draft = Draft(data, each.type, each.id, each.sender)
        if draft is None:
            raise BadRequest("The first entry of an append must have data.")
        yield Entry(check_channel(each.channel), draft)


def _stored(hub: Hub, stored: list[Stored]) -> list[StoredBody]:
    online = hub.audience.online
    return [
        StoredBody(channel, epoch, seq, id_, at, duplicate, online(channel))
        for channel, epoch, seq, id_, at, duplicate in stored
    ]


def _failure(error: PushdError) -> Failure:
    return Failure(
        error.code, error.status, error.detail, error.cure, error.retry_after, error.extra
    )
