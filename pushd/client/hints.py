"""Keeps one hint session alive: connect, hello, heartbeat, and connect again after every loss."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import trio

from pushd.client.answers import Frame, decode
from pushd.client.backoff import Backoff
from pushd.client.problems import BadAnswer, error_of_close
from pushd.errors import PushdError

# After these nothing changes by coming again (docs/protocol.md, "Close codes").
_FINAL_CODES: Final = frozenset({4001, 4003, 4009})
_HELLO_S: Final = 10.0
_PONG_S: Final = 10.0
# What a server may reasonably ask for; protects against a zero and against a year.
_HEARTBEAT_RANGE_S: Final = (1.0, 300.0)
_PING: Final = '{"type":"ping"}'


class LinkLost(Exception):
    """The link ended or could not be made. ``code``: the close code, if there was one."""

    def __init__(
        self, reason: str, code: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.retry_after_s = retry_after_s


class Link(Protocol):
    """Text frames both ways; both raise LinkLost."""

    async def receive(self) -> str: ...

    async def send(self, text: str) -> None: ...


Connect = Callable[[list[str]], AbstractAsyncContextManager[Link]]


class Listener(Protocol):
    """Whom the loop tells; all of these return at once."""

    def places(self) -> dict[str, str]:
        """The channels to subscribe, with their cursors."""

    def live(self, hello: Frame, left_out: frozenset[str]) -> None:
        """Hints arrive from here on. ``left_out``: channels whose heads come separately."""

    def subscribed(self, frame: Frame) -> None: ...

    def hinted(self, frame: Frame) -> None: ...

    def lost(self, reason: str, *, was_live: bool) -> None: ...

    def ended(self, error: PushdError) -> None:
        """The server does not want this client back."""


@dataclass(slots=True)
class _Session:
    """One session's end, noted once: the first cause counts."""

    scope: trio.CancelScope
    pong: trio.Event
    was_live: bool = False
    reason: str | None = None
    final: PushdError | None = None
    retry_after_s: float | None = None

    def end(self, reason: str, code: int | None = None, retry_after_s: float | None = None) -> None:
        if self.reason is None:
            self.reason, self.retry_after_s = reason, retry_after_s
            if code in _FINAL_CODES:
                self.final = error_of_close(code, reason)
        self.scope.cancel()


class HintLoop:
    """Runs until cancelled, or until the server ends it for good."""

    def __init__(
        self,
        connect: Connect,
        listener: Listener,
        split: Callable[[list[str]], tuple[list[str], list[str]]],
        rng: random.Random,
    ) -> None:
        """``split``: which channels go into the address, and which have to be subscribed."""
        self._connect = connect
        self._listener = listener
        self._split = split
        self._rng = rng
        self._backoff = Backoff(1.0, 30.0, rng)

    async def run(self) -> None:
        while True:
            session = await self._one_session()
            if session.final is not None:
                self._listener.ended(session.final)
                return
            if session.was_live:
                self._backoff.reset()
            self._listener.lost(session.reason or "the connection ended", was_live=session.was_live)
            await trio.sleep(self._backoff.next_delay(session.retry_after_s))

    async def _one_session(self) -> _Session:
        session = _Session(trio.CancelScope(), trio.Event())
        places = self._listener.places()
        named, rest = self._split(list(places))
        try:
            with session.scope:
                async with self._connect(named) as link:
                    await self._serve(link, session, {name: places[name] for name in rest})
        except LinkLost as lost:
            session.end(lost.reason, lost.code, lost.retry_after_s)
        return session

    async def _serve(self, link: Link, session: _Session, rest: dict[str, str]) -> None:
        try:
            with trio.fail_after(_HELLO_S):
                hello = await _await_hello(link, session)
        except trio.TooSlowError:
            session.end(f"no hello within {_HELLO_S:g} s")
            return
        if hello is None:
            return
        session.was_live = True
        self._listener.live(hello, frozenset(rest))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat, link, session, hello.heartbeat_s)
            if rest:
                nursery.start_soon(_subscribe, link, session, rest)
            await self._listen(link, session)

    async def _listen(self, link: Link, session: _Session) -> None:
        while session.reason is None:
            try:
                frame = _frame(await link.receive())
            except LinkLost as lost:
                session.end(lost.reason, lost.code)
                return
            if frame is None:
                continue
            if frame.type == "hint":
                self._listener.hinted(frame)
            elif frame.type == "subscribed":
                self._listener.subscribed(frame)
            elif frame.type == "pong":
                session.pong.set()
            elif frame.type == "bye":
                _take_leave(frame, session)

    async def _beat(self, link: Link, session: _Session, heartbeat_s: float) -> None:
        low, high = _HEARTBEAT_RANGE_S
        every_s = min(max(heartbeat_s, low), high)
        # After a restart everybody connects at once: the first beat spreads them.
        await trio.sleep(self._rng.uniform(0.5, 1.0) * every_s)
        while True:
            session.pong = trio.Event()
            try:
                with trio.fail_after(_PONG_S):
                    await link.send(_PING)
                    await session.pong.wait()
            except trio.TooSlowError:
                session.end(f"no pong within {_PONG_S:g} s")
            except LinkLost as lost:
                session.end(lost.reason, lost.code)
            await trio.sleep(every_s)


async def _await_hello(link: Link, session: _Session) -> Frame | None:
    """The hello, or None after a bye."""
    while True:
        frame = _frame(await link.receive())
        if frame is not None and frame.type == "hello":
            return frame
        if frame is not None and frame.type == "bye":
            _take_leave(frame, session)
            return None


async def _subscribe(link: Link, session: _Session, places: dict[str, str]) -> None:
    body = msgspec.json.encode({"type": "subscribe", "channels": places})
    try:
        await link.send(body.decode())
    except LinkLost as lost:
        session.end(lost.reason, lost.code)


def _frame(text: str) -> Frame | None:
    """None for what this client does not understand: it is ignored, a pull finds what it missed."""
    try:
        return decode(text, Frame)
    except BadAnswer:
        return None


def final_error(bye: Frame) -> PushdError | None:
    """Why a bye is the last word, or None when the client may come again."""
    code = bye.code if isinstance(bye.code, int) else 0
    if bye.reconnect and code not in _FINAL_CODES:
        return None
    return error_of_close(code, bye.reason or "")


def _take_leave(bye: Frame, session: _Session) -> None:
    session.final = final_error(bye)
    retry_after_s = None if bye.retry_after_ms is None else bye.retry_after_ms / 1000
    session.end(bye.reason or "the server said bye", retry_after_s=retry_after_s)
