"""Telling a peer that broke the WebSocket protocol why it is closed (RFC 6455, 7.1.7).

trio-websocket 0.12.2 only hangs up: wsproto 1.3.2 reports the violation like a close frame of the
peer, but without the change of state that makes the library answer one.
"""

from __future__ import annotations

from collections.abc import Generator

from wsproto.connection import Connection, ConnectionState
from wsproto.events import CloseConnection, Event


class TellingConnection(Connection):
    """As its base, and answers a violation with a close frame: 1002, or 1007 for broken UTF-8."""

    def events(self) -> Generator[Event, None, None]:
        for event in super().events():
            if type(event) is CloseConnection and self._state is ConnectionState.OPEN:
                self._state = ConnectionState.REMOTE_CLOSING
            yield event
