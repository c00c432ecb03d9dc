"""The answer of a multi-pull: channel after channel, within one bound of bytes."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.json import encode

from pushd.core.positions import Cursor
from pushd.core.pulling import NO_MESSAGES, shorten
from pushd.core.responses import body_of
from pushd.errors import PushdError
from pushd.log import Head
from pushd.pull import Pulls

# The life of a channel, its first seq, how often it was redacted; None: it does not exist.
_State = tuple[Head, int, int] | None


class MultiAnswer:
    """Collects the channels of one multi-pull; calls ``done`` with the body when all are in.

    One after the other, and once an answer found no room the rest is not even asked for: the
    work is bounded by what is sent.
    """

    def __init__(
        self,
        pulls: Pulls,
        asked: list[tuple[str, Cursor | PushdError]],
        limit: int,
        notices: bytes,
        done: Callable[[bytes], None],
    ) -> None:
        """``asked`` in the order of the answer; a refused channel carries its error."""
        self._pulls = pulls
        self._asked = asked
        self._limit = limit
        self._notices = notices
        self._done = done
        self._bodies: list[bytes] = []
        self._size = 0
        self._full = False
        self._running = False
        # The states of the channels that are in, when something had to be waited for.
        self._made_of: list[_State] = []

    def run(self) -> None:
        """Ask on until one has to be waited for; its arrival runs on."""
        if self._running:
            return
        self._running = True
        while len(self._bodies) < len(self._asked):
            at = len(self._bodies)
            self._ask(*self._asked[at])
            if len(self._bodies) == at:
                self._running = False
                self._made_of = list(map(self._state, range(at)))
                return
        parts = b",".join(
            b"%b:%b" % (encode(channel), body)
            for (channel, _), body in zip(self._asked, self._bodies, strict=True)
        )
        self._done(b'{"channels":{%b},"notices":%b}' % (parts, self._notices))

    def _ask(self, channel: str, cursor: Cursor | PushdError) -> None:
        if isinstance(cursor, PushdError):
            self._bodies.append(_refusal(cursor))
            return
        if self._full:
            self._bodies.append(self._stub(channel, cursor))
            return
        try:
            answer = self._pulls.answer(channel, cursor, self._limit, self._arrived)
        except PushdError as error:
            self._bodies.append(_refusal(error))
            return
        if answer is not None:
            self._bodies.append(self._fit(answer))

    def _arrived(self, answer: bytes | PushdError) -> None:
        for at, state in enumerate(self._made_of):
            if self._state(at) != state:
                self._bodies[at] = self._stub(*self._asked[at])
        self._bodies.append(
            _refusal(answer) if isinstance(answer, PushdError) else self._fit(answer)
        )
        self.run()

    def _state(self, at: int) -> _State:
        head = self._pulls.log.heads.get(self._asked[at][0])
        return None if head is None else (head, head.first, head.redactions)

    def _stub(self, channel: str, cursor: Cursor | PushdError) -> bytes:
        """No message, but ``more`` of them or what became of the channel: the client asks again."""
        if isinstance(cursor, PushdError):
            return _refusal(cursor)
        try:
            return self._pulls.stub(channel, cursor)
        except PushdError as error:
            return _refusal(error)

    def _fit(self, answer: bytes) -> bytes:
        """The object of one channel; with fewer messages when the whole would grow too large.

        With one at least, so that no busy channel keeps the client from another one for ever.
        """
        body = body_of(answer)
        if body.endswith(NO_MESSAGES):
            return body  # takes no room, else many of them would keep the first message out
        room = self._pulls.max_bytes - self._size
        if self._size and len(body) > room:
            self._full = True
            return shorten(body, room, self._pulls.places.fading)
        self._size += len(body)
        self._full = room <= len(body)
        return body


def _refusal(error: PushdError) -> bytes:
    kind = b"reset" if error.status == 410 else b"error"
    return b'{"%b":%b}' % (kind, error.as_json())
