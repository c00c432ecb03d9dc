"""The same request again after every doubt, for as long as it makes sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from pushd.client.backoff import Backoff
from pushd.client.http import Http
from pushd.client.problems import is_transient
from pushd.errors import PushdError


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


class Patience:
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


async def until_known(
    http: Http, path: str, body: Any, policy: RetryPolicy, wait_s: float = 0.0
) -> bytes:
    """Post it until there is an answer that says what became of it. Raises the refusal.

    ``wait_s``: how long the server may take beyond what it takes by itself."""
    patience = Patience(policy)
    while True:
        try:
            return await http.post(path, body, wait_s=wait_s, answer_s=policy.answer_s)
        except PushdError as error:
            if not is_transient(error):
                raise
            await patience.wait_after(error)
