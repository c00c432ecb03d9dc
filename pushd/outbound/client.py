"""A few connections to one address, kept for the next request."""

from __future__ import annotations

from collections import deque

import trio

from pushd.outbound.wire import Answer, Connection, Headers, NoAnswer, Place

KEEP_S = 4.0  # Node closes its idle connections after 5 s, uvicorn as well: be the first
MAX_CONNECTIONS = 16
MAX_ANSWER = 1 << 20


class HttpClient:
    """At most ``max_connections``: one for each who is in ``room``. ``run`` is the service.

    A request that a kept connection loses before anything was heard is sent once more on a new
    one: its other side closed it just then. So the application may get a request twice.
    """

    def __init__(
        self, url: str, max_connections: int = MAX_CONNECTIONS, max_answer: int = MAX_ANSWER
    ) -> None:
        self.place = Place(url)
        self._max_answer = max_answer
        self.room = trio.Semaphore(max_connections)
        # With the time until which each is kept; the one used last stands last.
        self._idle: deque[tuple[float, Connection]] = deque()
        self._kept = trio.Event()
        self._ended = False  # nobody would close what is kept from now on

    async def post(self, headers: Headers, body: bytes) -> Answer:
        """Within ``room``. Raises NoAnswer. Bound it with a deadline: it has none of its own."""
        kept = await self._take()
        if kept is not None:
            try:
                return await self._on(kept, headers, body)
            except NoAnswer:
                if kept.heard:
                    raise
        fresh = await Connection.open(self.place, self._max_answer)
        return await self._on(fresh, headers, body)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Closes what is not used any more, and at the end all that is idle."""
        task_status.started()
        try:
            while True:
                await self._kept.wait()
                await trio.sleep(KEEP_S)
                await self._close_idle(trio.current_time())
                if not self._idle:
                    self._kept = trio.Event()
        finally:
            self._ended = True
            with trio.CancelScope(shield=True):  # closes at once, waits for nothing
                await self._close_idle(float("inf"))

    async def _take(self) -> Connection | None:
        await self._close_idle(trio.current_time())
        return self._idle.pop()[1] if self._idle else None

    async def _close_idle(self, now: float) -> None:
        while self._idle and self._idle[0][0] <= now:
            await self._idle.popleft()[1].close()

    async def _on(self, connection: Connection, headers: Headers, body: bytes) -> Answer:
        whole = False
        try:
            answer = await connection.exchange("POST", headers, body)
            whole = connection.renew() and not self._ended
        finally:
            if not whole:
                await connection.close()
        if whole:
            self._idle.append((trio.current_time() + KEEP_S, connection))
            self._kept.set()
        return answer
