"""The way to the application: by which rules it is asked, and how many at a time."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import trio

from pushd.errors import NotReady
from pushd.hook.limits import HookLimits
from pushd.keysets import fingerprint
from pushd.metrics import Counters
from pushd.outbound import Answer, CircuitOpen, Endpoint, NoAnswer, keys_of, new_id

TRIES: Final = 2
MAX_READ_BYTES: Final = 64 * 1024

Sent = tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class HookRules:
    """``headers``: names in lower case of what goes along with the token."""

    url: str
    secret: str
    headers: tuple[bytes, ...] = ()
    timeout_s: float = 5.0
    at_once: int = 32
    rate: int = 200
    refusals: int = 20


class Line:
    """To one address of the application, by one set of rules. ``room``: for what is asked at a
    time. ``fingerprint``: of what vouches for those that the application knows."""

    __slots__ = ("endpoint", "fingerprint", "limits", "room", "rules")

    def __init__(self, rules: HookRules, counters: Counters) -> None:
        self.rules = rules
        self.endpoint = Endpoint(
            "auth",
            rules.url,
            keys_of(rules.secret),
            counters,
            attempt_s=rules.timeout_s,
            max_connections=rules.at_once,
            max_answer=MAX_READ_BYTES,
        )
        self.limits = HookLimits(rules.rate, rules.refusals)
        self.room = trio.Semaphore(rules.at_once)
        self.fingerprint = fingerprint("hook", rules.url)

    def sent(self, headers: Mapping[bytes, bytes]) -> Sent:
        """What of these headers goes along with a token."""
        return tuple(map(headers.get, self.rules.headers))

    def named(self, sent: Sent) -> dict[str, str]:
        """The same, as the application is told."""
        return {
            name.decode(): value.decode("latin-1")
            for name, value in zip(self.rules.headers, sent, strict=True)
            if value is not None
        }

    async def post(self, body: bytes) -> Answer | NotReady:
        """What came back, or why nothing did."""
        try:
            return await self.endpoint.post(
                body, id_=new_id(), within_s=self.rules.timeout_s, tries=TRIES
            )
        except CircuitOpen as error:
            return not_ready("The application does not answer.", error.retry_after_s)
        except NoAnswer:
            return not_ready("The application did not answer.")


def not_ready(detail: str, after_s: float = 1.0) -> NotReady:
    """Not everybody shall come again in the same moment."""
    return NotReady(
        detail,
        retry_after=math.ceil(after_s * (1 + random.random())),
        cure="Come again after Retry-After seconds, with the same token.",
    )
