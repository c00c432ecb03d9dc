"""Where following begins: as the store or the caller says, else as the server does."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Final

import trio

from pushd.client.answers import Pulled
from pushd.client.backoff import Backoff
from pushd.client.events import Dropped, Placed, Reset
from pushd.client.groups import one_exception
from pushd.client.mailbox import Mailbox
from pushd.client.needs import Transport
from pushd.client.problems import is_foreign, is_transient
from pushd.client.state import FollowState
from pushd.core.positions import Cursor
from pushd.errors import BadRequest, Forbidden, NotFound, PushdError
from pushd.errors import Reset as ResetError

_AT_ONCE: Final = 8


async def locate_all(
    transport: Transport,
    state: FollowState,
    mailbox: Mailbox,
    channels: Iterable[str],
    known: Mapping[str, str],
    rng: random.Random,
) -> None:
    """Put every channel into ``state``. Asks the server for those that are not ``known``.

    Goes on until the server answers; raises what it refuses for good.
    """
    limit = trio.CapacityLimiter(_AT_ONCE)
    locator = _Locator(transport, state, mailbox, limit, rng)
    with one_exception():
        async with trio.open_nursery() as nursery:
            for name in channels:
                if name in known:
                    state.add(name, known[name])
                else:
                    nursery.start_soon(locator.locate, name)
    locator.done()


class _Locator:
    def __init__(
        self,
        transport: Transport,
        state: FollowState,
        mailbox: Mailbox,
        limit: trio.CapacityLimiter,
        rng: random.Random,
    ) -> None:
        self._transport, self._state, self._mailbox = transport, state, mailbox
        self._limit, self._rng = limit, rng
        self._troubled = False
        self._worked = False

    async def locate(self, name: str) -> None:
        backoff = Backoff(1.0, 30.0, self._rng)
        while True:
            try:
                async with self._limit:
                    cursor = _start_of(await self._transport.locate(name))
            except ResetError as reset:
                self._reset(name, reset)
                return
            except PushdError as error:
                foreign = is_foreign(error)
                if isinstance(error, BadRequest | Forbidden | NotFound) and not foreign:
                    self._mailbox.put([Dropped(name, error.code, error.detail)])
                    return
                if not (is_transient(error) or (self._worked and foreign)):
                    raise
                self._say(error)
                await trio.sleep(backoff.next_delay(error.retry_after))
            else:
                self._worked = True
                self._state.add(name, cursor)
                self._mailbox.put([Placed(name, cursor)])
                return

    def done(self) -> None:
        if self._troubled:
            self._mailbox.put_status("recovered", "the server answers")

    def _reset(self, name: str, reset: ResetError) -> None:
        resume, skipped = str(reset.extra.get("resume", "0")), reset.extra.get("skipped")
        self._state.add(name, resume)
        self._mailbox.put([Reset(name, resume, reset.code, skipped, reset.detail)])

    def _say(self, error: PushdError) -> None:
        if not self._troubled:
            self._mailbox.put_status("retrying", error.detail)
        self._troubled = True


def _start_of(page: Pulled) -> str:
    """The cursor that this page follows."""
    if not page.messages:
        return page.next
    return str(Cursor(page.epoch, page.messages[0].seq - 1))
