"""The thread that hears what is published in Redis: all that has come is one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.connection import ConnectionInterface
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pushd.cluster.bus.address import RedisAddress
from pushd.cluster.bus.line import Line

WAIT_S: Final = 0.25
QUIET_S: Final = 1.0  # then it is asked whether anybody is there
BATCH: Final = 500


class Listener(Line):
    """``heard`` is called in this thread with (channel, text) of each message of a batch."""

    def __init__(
        self,
        address: RedisAddress,
        report: Callable[[Exception | None], None],
        heard: Callable[[list[tuple[str, bytes]]], None],
        channels: Sequence[str],
    ) -> None:
        super().__init__("messages", address, report)
        self._heard = heard
        self._channels = channels

    def prepare(self, connection: ConnectionInterface) -> None:
        connection.send_command("SUBSCRIBE", *self._channels)  # type: ignore[no-untyped-call]
        said: list[tuple[str, bytes]] = []
        missing = len(self._channels)
        while missing:
            reply = connection.read_response()
            missing -= reply[0] == b"subscribe"
            said += _message(reply)
        if said:
            self._heard(said)

    def serve(self, connection: ConnectionInterface) -> None:
        last = time.monotonic()
        asked: float | None = None
        while not self.stopping.is_set():
            if connection.can_read(WAIT_S):
                self._take(connection)
                last, asked = time.monotonic(), None
                continue
            now = time.monotonic()
            if asked is None and now - last > QUIET_S:
                connection.send_command("PING")  # type: ignore[no-untyped-call]
                asked = now
            elif asked is not None and now - asked > self._address.timeout_s:
                raise RedisTimeoutError("Redis is silent")

    def _take(self, connection: ConnectionInterface) -> None:
        said: list[tuple[str, bytes]] = []
        for _ in range(BATCH):
            try:
                said += _message(connection.read_response())
            except ResponseError as error:  # nothing can be told from where the stream is then
                raise RedisConnectionError(str(error)) from error
            if not connection.can_read(0):
                break
        if said:
            self._heard(said)


def _message(reply: Any) -> list[tuple[str, bytes]]:
    if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
        return [(reply[1].decode(), reply[2])]
    return []
