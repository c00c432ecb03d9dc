"""Posting one batch: taken, refused by an application that is there, or not answered."""

from __future__ import annotations

import random
from typing import Final, Literal

import trio

from pushd.outbound import CircuitOpen, Endpoint, NoAnswer

FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 30.0
PATIENCE_S: Final = 60.0  # for a connection, while calls have them all

Outcome = Literal["taken", "refused", "unanswered"]


class Poster:
    """One batch at a time. The pause after a failure grows until something is taken again."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._failures = 0
        self.reason = ""  # of the last failure

    async def post(self, body: bytes, id_: str) -> Outcome:
        """After a failure it returns when the pause is over: whoever calls may try again."""
        wait_s = 0.0
        outcome: Outcome = "unanswered"
        try:
            answer = await self._endpoint.post(body, id_=id_, within_s=PATIENCE_S, tries=1)
        except CircuitOpen as error:
            self.reason, wait_s = error.reason, error.retry_after_s
        except NoAnswer as error:
            self.reason = error.reason
            outcome = "refused" if error.status == 500 else "unanswered"
        else:
            if 200 <= answer.status < 300:
                self._failures = 0
                return "taken"
            self.reason, outcome = f"status {answer.status}", "refused"
        longest = min(FIRST_DELAY_S * 2 ** min(self._failures, 16), LONGEST_DELAY_S)
        self._failures += 1
        await trio.sleep(max(random.uniform(0, longest), wait_s))
        return outcome
