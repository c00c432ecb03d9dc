"""One hint session: hello, heartbeat, token renewal, and why it ended."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import msgspec
import trio

from pushd.client.answers import Frame, decode
from pushd.client.credential import Credential
from pushd.client.ladder import TransportKind
from pushd.client.link import Link, LinkLost, Listener
from pushd.client.options import FollowOptions
from pushd.client.problems import BadAnswer, error_of_close
from pushd.errors import PushdError

TOKEN_CODE: Final = 4001
# After these nothing changes by coming again, unless a bye says otherwise.
_FINAL_CODES: Final = frozenset({TOKEN_CODE, 4003, 4009})
# What a server may reasonably ask for; protects against a zero and against a year.
_HEARTBEAT_RANGE_S: Final = (1.0, 300.0)


@dataclass(slots=True)
class SessionEnd:
    """How it went. ``lived_s`` is None when there was no hello; ``orderly``: with a goodbye."""

    lived_s: float | None
    reason: str
    code: int | None
    retry_after_s: float | None
    blocked: bool
    final: PushdError | None

    @property
    def orderly(self) -> bool:
        """The server said so, by a bye or a close."""
        return self.code is not None

    @property
    def stale_token(self) -> bool:
        """It was for the token; with another one it may go."""
        return self.code == TOKEN_CODE


class Session:
    """Serves one link until it is lost, or until ``end`` is called: the first cause counts."""

    def __init__(
        self,
        kind: TransportKind,
        listener: Listener,
        credential: Credential,
        options: FollowOptions,
        rng: random.Random,
    ) -> None:
        self.kind: TransportKind = kind
        self.id: str | None = None
        self._listener, self._credential = listener, credential
        self._options, self._rng = options, rng
        self._scope = trio.CancelScope()
        self._pong = trio.Event()
        self._began: float | None = None
        self._end: SessionEnd | None = None

    def end(
        self, reason: str, code: int | None = None, retry_after_s: float | None = None, *,
        blocked: bool = False, final: PushdError | None = None,
    ) -> None:  # fmt: skip
        """It is over; only the first reason counts."""
        if self._end is None:
            lived_s = None if self._began is None else trio.current_time() - self._began
            self._end = SessionEnd(lived_s, reason, code, retry_after_s, blocked, final)
        self._scope.cancel()

    def end_by(self, lost: LinkLost) -> None:
        """It is over, because the link is."""
        code = lost.code or 0
        final = error_of_close(code, lost.reason) if code in _FINAL_CODES else None
        self.end(lost.reason, lost.code, lost.retry_after_s, blocked=lost.blocked, final=final)

    def result(self) -> SessionEnd:
        """How it went. What nobody has ended has ended with its connection."""
        self.end("the connection ended")
        assert self._end is not None
        return self._end

    async def serve(self, link: Link, rest: dict[str, str], *, probe: bool = False) -> None:
        """Until the end. ``rest``: channels that the address does not name, with their cursors.

        ``probe``: a hello is all that is wanted.
        """
        with self._scope:
            try:
                hello = await self._await_hello(link)
            except LinkLost as lost:
                self.end_by(lost)
                return
            if hello is None:
                return
            self._began, self.id = trio.current_time(), hello.session
            if probe:
                return
            self._listener.live(self.kind, hello, frozenset(rest) if link.two_way else frozenset())
            await self._live(link, rest, hello)

    async def _live(self, link: Link, rest: dict[str, str], hello: Frame) -> None:
        low, high = _HEARTBEAT_RANGE_S
        every_s = min(max(hello.heartbeat_s, low), high)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew, link)
            if link.two_way:
                nursery.start_soon(self._beat, link, every_s)
                if rest:
                    nursery.start_soon(self._subscribe, link, rest)
                await self._listen(link, None)
            else:
                await self._listen(link, 2 * every_s + self._options.pong_s)

    async def _await_hello(self, link: Link) -> Frame | None:
        """The hello, or None after a bye, or when there was none in time."""
        with trio.move_on_after(self._options.hello_s):
            while True:
                frame = _frame(await link.receive())
                if frame is not None and frame.type == "hello":
                    return frame
                if frame is not None and frame.type == "bye":
                    self._take_leave(frame)
                    return None
        self.end(f"no hello within {self._options.hello_s:g} s", blocked=True)
        return None

    async def _listen(self, link: Link, silence_s: float | None) -> None:
        while self._end is None:
            with trio.CancelScope() as silence:
                if silence_s is not None:
                    silence.deadline = trio.current_time() + silence_s
                try:
                    self._take(_frame(await link.receive()))
                except LinkLost as lost:
                    self.end_by(lost)
            if silence.cancelled_caught:
                self.end(f"nothing was heard for {silence_s:g} s")

    def _take(self, frame: Frame | None) -> None:
        match None if frame is None else frame.type:
            case "hint":
                self._listener.hinted(frame)  # type: ignore[arg-type]
            case "subscribed":
                self._listener.subscribed(frame)  # type: ignore[arg-type]
            case "unsubscribed":
                self._listener.unsubscribed(frame)  # type: ignore[arg-type]
            case "read":
                self._listener.was_read(frame)  # type: ignore[arg-type]
            case "pong":
                self._pong.set()
            case "bye":
                self._take_leave(frame)  # type: ignore[arg-type]

    async def _beat(self, link: Link, every_s: float) -> None:
        """A peer that vanished without a word is noticed by its missing pong."""
        # After a restart everybody connects at once: the first beat spreads them.
        await trio.sleep(self._rng.uniform(0.5, 1.0) * every_s)
        while True:
            self._pong = trio.Event()
            with trio.move_on_after(self._options.pong_s) as patience:
                await self._send(link, {"type": "ping"})
                await self._pong.wait()
            if patience.cancelled_caught:
                self.end(f"no pong within {self._options.pong_s:g} s")
            await trio.sleep(every_s)

    async def _renew(self, link: Link) -> None:
        """Another token before this one expires; without a way to send it, another session."""
        told = self._credential.current
        while True:
            await trio.sleep(max(self._credential.renew_in(), 1.0))
            try:
                token = await self._credential.token()
            except PushdError:
                continue  # the old one still holds; afterwards the server ends this
            # A request may have renewed it meanwhile: the session has not heard of that.
            if token == told:
                continue
            if not link.two_way:
                self.end("for a new token", 1000)
            await self._send(link, {"type": "refresh", "token": token})
            told = token

    async def _subscribe(self, link: Link, rest: dict[str, str]) -> None:
        await self._send(link, {"type": "subscribe", "channels": rest})

    async def _send(self, link: Link, frame: dict[str, object]) -> None:
        try:
            await link.send(msgspec.json.encode(frame).decode())
        except LinkLost as lost:
            self.end_by(lost)

    def _take_leave(self, bye: Frame) -> None:
        code = bye.code if isinstance(bye.code, int) else 0
        retry_after_s = None if bye.retry_after_ms is None else bye.retry_after_ms / 1000
        reason = bye.reason or "the server said bye"
        self.end(reason, code, retry_after_s, final=final_error(bye))


def _frame(text: str) -> Frame | None:
    """None for what this client does not understand: it is ignored, a pull finds what it missed."""
    try:
        return decode(text, Frame)
    except BadAnswer:
        return None


def final_error(bye: Frame) -> PushdError | None:
    """Why a bye is the last word, or None when the client may come again."""
    code = bye.code if isinstance(bye.code, int) else 0
    again = code not in _FINAL_CODES if bye.reconnect is None else bye.reconnect
    # With the same token it would be the same again, whatever the bye says.
    return None if again and code != TOKEN_CODE else error_of_close(code, bye.reason or "")
