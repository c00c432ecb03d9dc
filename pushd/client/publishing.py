"""Publishing until the outcome is known: the same id again after every doubt."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import trio

from pushd.client.answers import ManyPublished, Published, decode
from pushd.client.backoff import Backoff
from pushd.client.encode import encode
from pushd.client.http import Http, channel_path
from pushd.client.problems import BadAnswer, Unreachable, error_of_code, is_transient
from pushd.errors import PushdError

# Half of what the server takes in one body (8 MiB), so that a long line still fits.
_MOST_BATCH_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to stop: after ``give_up_s`` seconds in which nothing went forward.

    ``answer_s``: how long one attempt may take; then its connection counts as lost.
    """

    give_up_s: float = 30.0
    base_s: float = 0.25
    cap_s: float = 10.0
    answer_s: float = 30.0
    # Called before each wait with the reason and its length in seconds.
    on_retry: Callable[[PushdError, float], None] | None = None


class LineResult(NamedTuple):
    """What became of one line: ``published``, or the ``error`` that refuses it for good."""

    line: int
    channel: str
    published: Published | None
    error: PushdError | None


class _LineAnswer(msgspec.Struct, frozen=True):
    line: int
    channel: str = ""
    epoch: str = ""
    seq: int = 0
    id: str = ""
    at: int = 0
    duplicate: bool = False
    code: str | None = None
    detail: str = ""
    retry_after_ms: int | None = None


class _Patience:
    """Waits between attempts, and raises the last error once there was no progress for too long."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._backoff = Backoff(policy.base_s, policy.cap_s)
        self.progressed()

    def progressed(self) -> None:
        self._backoff.reset()
        self._since = trio.current_time()

    async def wait_after(self, error: PushdError) -> None:
        delay = self._backoff.next_delay(error.retry_after)
        left = self._since + self._policy.give_up_s - trio.current_time()
        if left <= 0 or (error.retry_after or 0) > left:
            raise error
        if self._policy.on_retry is not None:
            self._policy.on_retry(error, delay)
        await trio.sleep(min(delay, left))


def new_id() -> str:
    """An idempotency id that nobody else makes: 128 random bits."""
    return secrets.token_hex(16)


async def publish(
    http: Http, channel: str, message: Mapping[str, Any], policy: RetryPolicy
) -> Published:
    """Store one message; ``message`` has ``data`` and ``id``. Raises the refusal, or Unreachable.

    After a time-out, a 5xx or a lost connection the outcome is unknown, so the same id goes out
    again: the server stores it at most once (docs/protocol.md, "Publish one message").
    """
    raw = await _until_known(http, f"{channel_path(channel)}/messages", message, policy)
    return decode(raw, Published)


async def publish_to(
    http: Http, to: Mapping[str, Any], message: Mapping[str, Any], policy: RetryPolicy
) -> list[Published]:
    """Like ``publish``, to many targets in one transaction; one result for each."""
    raw = await _until_known(http, "/v1/publish", {"to": to, "message": message}, policy)
    return decode(raw, ManyPublished).results


async def _until_known(http: Http, path: str, body: Any, policy: RetryPolicy) -> bytes:
    patience = _Patience(policy)
    while True:
        try:
            return await http.post(path, body, answer_s=policy.answer_s)
        except PushdError as error:
            if not is_transient(error):
                raise
            await patience.wait_after(error)


class LineResults:
    """Stores many messages in order, ``batch`` in one request; iterate it for the results.

    One result for each line, in order. A line without one (the answer was cut, or the server was
    busy) is sent again with the same id. Raises what refuses a whole request, or the last error
    once patience is at its end. Stop whenever you like: nothing is open between two results.
    """

    def __init__(
        self,
        http: Http,
        lines: Iterable[tuple[str, Mapping[str, Any]]],
        policy: RetryPolicy,
        batch: int,
    ) -> None:
        self._http = http
        self._policy = policy
        self._batches = _batches(lines, batch)
        self._results: deque[LineResult] = deque()
        self._done = 0

    def __aiter__(self) -> LineResults:
        return self

    async def __anext__(self) -> LineResult:
        if not self._results:
            batch = next(self._batches, None)
            if batch is None:
                raise StopAsyncIteration
            self._results.extend(await _send_batch(self._http, batch, self._policy))
        self._done += 1
        return self._results.popleft()._replace(line=self._done - 1)


class _Batch:
    """Lines on their way: which have a result, and what the last answer lacked."""

    def __init__(self, bodies: list[bytes], channels: list[str]) -> None:
        self._bodies = bodies
        self._channels = channels
        self._results: dict[int, LineResult] = {}
        self._sent: list[int] = []
        self.busy: PushdError | None = None
        self.wrong: PushdError | None = None

    @property
    def count(self) -> int:
        """Results so far."""
        return len(self._results)

    @property
    def results(self) -> list[LineResult] | None:
        """All results in order, once there are all."""
        if self.count < len(self._bodies):
            return None
        return [self._results[index] for index in range(self.count)]

    def to_send(self) -> bytes:
        self.busy = None
        self._sent = [index for index in range(len(self._bodies)) if index not in self._results]
        return b"".join(self._bodies[index] + b"\n" for index in self._sent)

    def take(self, raw: bytes) -> None:
        """One line of the answer. Does not raise: the first thing that is wrong is kept."""
        try:
            answer = decode(raw, _LineAnswer)
        except BadAnswer as wrong:
            self.wrong = self.wrong or wrong
            return
        if not 1 <= answer.line <= len(self._sent):
            self.wrong = self.wrong or BadAnswer(
                f"The server answered for line {answer.line}, which was not sent."
            )
            return
        index = self._sent[answer.line - 1]
        result = _result_of(answer, self._channels[index])
        if result.error is not None and is_transient(result.error):
            self.busy = result.error
        else:
            self._results.setdefault(index, result)


def _result_of(answer: _LineAnswer, channel: str) -> LineResult:
    if answer.code is not None:
        retry_after = None if answer.retry_after_ms is None else -(-answer.retry_after_ms // 1000)
        error = error_of_code(answer.code, answer.detail, retry_after=retry_after)
        return LineResult(0, channel, None, error)
    published = Published(channel, answer.epoch, answer.seq, answer.id, answer.at, answer.duplicate)
    return LineResult(0, channel, published, None)


def _batches(lines: Iterable[tuple[str, Mapping[str, Any]]], most: int) -> Iterator[_Batch]:
    bodies: list[bytes] = []
    channels: list[str] = []
    size = 0
    for channel, message in lines:
        given = message if message.get("id") is not None else {**message, "id": new_id()}
        body = encode({"channel": channel, **given})
        if bodies and (len(bodies) == most or size + len(body) >= _MOST_BATCH_BYTES):
            yield _Batch(bodies, channels)
            bodies, channels, size = [], [], 0
        bodies.append(body)
        channels.append(channel)
        size += len(body) + 1
    if bodies:
        yield _Batch(bodies, channels)


async def _send_batch(http: Http, batch: _Batch, policy: RetryPolicy) -> list[LineResult]:
    patience = _Patience(policy)
    while True:
        before = batch.count
        trouble: PushdError = Unreachable("The answer ended too early.")
        try:
            await http.post_lines(
                "/v1/publish", batch.to_send(), batch.take, answer_s=policy.answer_s
            )
        except PushdError as error:
            if not is_transient(error):
                raise
            trouble = error
        if batch.wrong is not None:
            raise batch.wrong
        if (results := batch.results) is not None:
            return results
        if batch.count > before:
            patience.progressed()
        await patience.wait_after(batch.busy or trouble)
