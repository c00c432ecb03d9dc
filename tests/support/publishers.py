"""Those who publish: in batches or one by one, and again with the same id when in doubt."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable
from urllib.parse import quote

import msgspec
import trio

from tests.support.chat import Sent
from tests.support.ledger import Ledger
from tests.support.server import ServerProcess
from tests.support.wire import KEY, NDJSON, ConnectionLost, Http, request_bytes

DOUBTFUL = frozenset({500, 503})  # unknown, or to be tried later; with the same id


class Progress:
    """How much was acked, for others to wait for."""

    def __init__(self) -> None:
        self.acked = 0
        self._waiting: list[tuple[int, trio.Event]] = []

    def advance(self, count: int) -> None:
        self.acked += count
        for wanted, event in self._waiting:
            if self.acked >= wanted:
                event.set()

    async def reach(self, count: int) -> None:
        """Wait until so many are acked."""
        event = trio.Event()
        self._waiting.append((count, event))
        self.advance(0)
        await event.wait()


class BatchPublisher:
    """Publishes in order, one NDJSON batch after the other, each until it is acked.

    ``careless``: after so many batches on average it hangs up without waiting for the answer, and
    sends the batch again: what was stored the first time must not be stored twice.
    """

    def __init__(
        self, server: ServerProcess, ledger: Ledger, *, batch: int = 100, careless: int = 0
    ) -> None:
        self.progress = Progress()
        self._server = server
        self._ledger = ledger
        self._batch = batch
        self._careless = careless
        self._rng = random.Random(7)
        self._http: Http | None = None

    async def run(self, messages: list[Sent]) -> None:
        try:
            for start in range(0, len(messages), self._batch):
                await self._insist(messages[start : start + self._batch])
        finally:
            self._hang_up()

    async def _insist(self, batch: list[Sent]) -> None:
        while batch:
            await self._server.up()
            try:
                batch = await self._publish(batch)
            except ConnectionLost:
                self._hang_up()

    async def _publish(self, batch: list[Sent]) -> list[Sent]:
        """What of it has to be sent again."""
        if self._http is None:
            self._http = await self._server.http()
        body = b"\n".join([message.line() for message in batch])
        if self._careless and self._rng.randrange(self._careless) == 0:
            await self._http.write(request_bytes("POST", "/v1/publish", KEY, body, NDJSON))
            raise ConnectionLost("it did not wait")
        answer = await self._http.request("POST", "/v1/publish", body=body, content_type=NDJSON)
        results = [msgspec.json.decode(line) for line in answer.ok().splitlines()]
        assert [result["line"] for result in results] == list(range(1, len(batch) + 1))
        return self._settle(batch, results)

    def _settle(self, batch: list[Sent], results: list[dict[str, object]]) -> list[Sent]:
        """Only a line's result acks it. From the first doubtful one on all is sent again, so that
        the order stays."""
        for at, (sent, result) in enumerate(zip(batch, results, strict=True)):
            if result.get("status") in DOUBTFUL:
                return batch[at:]
            self._ledger.ack(result, sent)
            self.progress.advance(1)
        return []

    def _hang_up(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None


async def publish_singly(server: ServerProcess, ledger: Ledger, messages: Iterable[Sent]) -> None:
    """One message a request, each until it is acked; the next one only then."""
    left = iter(messages)
    sent = next(left, None)
    while sent is not None:
        await server.up()
        with contextlib.suppress(ConnectionLost):
            async with await server.http() as http:
                while sent is not None:
                    if await _publish_one(http, ledger, sent):
                        sent = next(left, None)


async def _publish_one(http: Http, ledger: Ledger, sent: Sent) -> bool:
    """False: nobody knows, or it is to be tried later."""
    target = f"/v1/channels/{quote(sent.channel, safe='')}/messages"
    value = {"id": sent.id, "sender": sent.sender, "data": msgspec.Raw(sent.data)}
    answer = await http.post(target, value)
    if answer.status in DOUBTFUL:
        return False
    ledger.ack(msgspec.json.decode(answer.ok()), sent)
    return True
