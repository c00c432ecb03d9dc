"""Publishing until the outcome is known: the same id again after every doubt."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from pushd.client.answers import CallAnswer, ManyPublished, Published, decode
from pushd.client.encode import encode
from pushd.client.http import Http, channel_path
from pushd.client.problems import BadAnswer, Unreachable, error_of_code, is_transient
from pushd.client.retrying import Patience, RetryPolicy, until_known
from pushd.errors import PushdError

# Half of what the server takes in one body (8 MiB), so that a long line still fits.
_MOST_BATCH_BYTES: Final = 4 << 20


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
    raw = await until_known(http, f"{channel_path(channel)}/messages", message, policy)
    return decode(raw, Published)


class Results(list[Published]):
    """One for each target. ``delivered``: whether the user that was waited for has it; None:
    nobody was waited for."""

    delivered: bool | None = None


async def publish_to(
    http: Http,
    to: Mapping[str, Any],
    message: Mapping[str, Any],
    wait: Mapping[str, Any] | None,
    policy: RetryPolicy,
) -> Results:
    """Like ``publish``, to many targets in one transaction. ``wait``: as the body has it."""
    body = {"to": to, "message": message} | ({} if wait is None else {"wait": wait})
    wait_s = 0.0 if wait is None else wait["ms"] / 1000
    answer = decode(await until_known(http, "/v1/publish", body, policy, wait_s), ManyPublished)
    results = Results(answer.results)
    results.delivered = answer.delivered
    return results


async def call(http: Http, body: Mapping[str, Any], wait_s: float, policy: RetryPolicy) -> Any:
    """What the application answers; ``body`` has an ``id``, so that asking again is no new call."""
    return decode(await until_known(http, "/v1/call", body, policy, wait_s), CallAnswer).data


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
    patience = Patience(policy)
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
