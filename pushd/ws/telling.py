"""Telling a peer that broke the WebSocket protocol why it is closed (RFC 6455, 7.1.7).

trio-websocket 0.12.2 only hangs up: wsproto 1.3.2 reports the violation like a close frame of the
peer, but without the change of state that makes the library answer one.
"""

from __future__ import annotations

from collections.abc import Generator

from wsproto.connection import Connection, ConnectionState
from wsproto.events import CloseConnection, Event, Message
from wsproto.frame_protocol import CloseReason

MAX_FRAGMENTS = 1024  # of one message: empty ones cost memory, too


class TellingConnection(Connection):
    """As its base, and answers a violation with a close frame: 1002, or 1007 for broken UTF-8.

    Also 1009 for a message of too many fragments; its bytes are bounded by the library.
    """

    _fragments = 0

    def events(self) -> Generator[Event, None, None]:
        """What the bytes mean that were received."""
        for event in super().events():
            if type(event) is CloseConnection and self._state is ConnectionState.OPEN:
                self._state = ConnectionState.REMOTE_CLOSING
            elif isinstance(event, Message):
                # What has come of a frame that is not whole is told as well, and is no fragment.
                if event.message_finished:
                    self._fragments = 0
                elif event.frame_finished:
                    self._fragments += 1
                    if self._fragments >= MAX_FRAGMENTS:  # and there is another one to come
                        self._state = ConnectionState.REMOTE_CLOSING
                        yield CloseConnection(CloseReason.MESSAGE_TOO_BIG, "too many fragments")
                        return
            yield event
