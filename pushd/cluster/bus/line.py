"""One connection to Redis in a thread of its own, made again whenever it is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from redis.connection import ConnectionInterface
from redis.exceptions import RedisError

from pushd.cluster.bus.address import RedisAddress

log = structlog.get_logger("pushd.cluster")

SHORTEST_S: Final = 0.1
LONGEST_S: Final = 5.0
STEADY_S: Final = 5.0  # a connection that lasted so long makes up for those that failed


def pause_s(failures: int) -> float:
    """How long to wait after so many in a row: anything up to twice as much each time."""
    return random.uniform(SHORTEST_S, min(LONGEST_S, 2 * SHORTEST_S * 2 ** min(failures, 10)))


class Line(threading.Thread):
    """``report`` is called in this thread: with None when the connection is there, with the error
    when it is lost, or could not be made."""

    def __init__(
        self, name: str, address: RedisAddress, report: Callable[[Exception | None], None]
    ) -> None:
        super().__init__(name=f"pushd redis {name}", daemon=True)
        self.stopping = threading.Event()
        self._address = address
        self._report = report

    def run(self) -> None:
        failures = 0
        while not self.stopping.is_set():
            connection = self._address.connection()
            began = time.monotonic()
            try:
                connection.connect()  # type: ignore[no-untyped-call]
                self.prepare(connection)
                self._report(None)
                self.serve(connection)
            except (RedisError, OSError) as error:
                self._fail(error)
            except Exception as error:
                log.exception("the connection to redis failed in a way that nobody expected")
                self._fail(error)
            finally:
                connection.disconnect()  # type: ignore[no-untyped-call]
            failures = 0 if time.monotonic() - began > STEADY_S else failures + 1
            self.stopping.wait(pause_s(failures))

    def _fail(self, error: Exception) -> None:
        if not self.stopping.is_set():
            self._report(error)

    def prepare(self, connection: ConnectionInterface) -> None:
        """Raises what is wrong with a connection that was just made."""
        raise NotImplementedError

    def serve(self, connection: ConnectionInterface) -> None:
        """Returns when the line is to end; raises when the connection is lost."""
        raise NotImplementedError
