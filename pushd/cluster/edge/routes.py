"""The dispatcher of an edge: what it does not know by itself goes to the owner as it is."""

from __future__ import annotations

import re
from typing import Final

from pushd.core.names import SESSION_PREFIX
from pushd.front.connection import HttpConnection
from pushd.front.query import decode_part
from pushd.front.request import Request
from pushd.front.routes import ENDS, Engines, Routes
from pushd.hub import Hub

_PRESENCE: Final = b"/presence"
_SESSION: Final = re.compile(rb"session(:|%3a)", re.IGNORECASE)  # as names in an address have it
_NAMED: Final = re.compile(rb'"session:([A-Za-z0-9_-]{1,64})"')  # and in a body


class EdgeRoutes(Routes):
    """``engines.web`` passes on. A pull of a session that lives elsewhere, who is in a topic, and
    all that a user has, with what the user did a moment ago at any node, only the owner knows."""

    def __init__(self, hub: Hub, engines: Engines, *, admin: bool = True) -> None:
        super().__init__(hub, engines, admin=admin)
        prefix = hub.settings.path_prefix.encode()
        self._pull = prefix + b"/v1/pull"
        self._inbox = prefix + b"/v1/inbox"

    def dispatch(self, connection: HttpConnection, request: Request) -> None:
        if self._is_elsewhere(request):
            connection.hand_over(self._engines.web, request)
        else:
            super().dispatch(connection, request)

    def _is_elsewhere(self, request: Request) -> bool:
        target = request.target
        if target == self._pull:
            return self._names_foreign(request.body)
        if target.startswith(self._inbox) and request.path == self._inbox:
            return request.method == b"GET"
        if not target.startswith(self._channels) or request.method == b"OPTIONS":
            return False
        part = request.path[len(self._channels) :]
        if part.endswith(_PRESENCE):
            return True
        # The rest of a channel is for administrators, who are not served at every door.
        if _SESSION.match(part) is None or not part.endswith(ENDS):
            return False
        name = decode_part(part.partition(b"/")[0])
        return name[len(SESSION_PREFIX) :] not in self._hub.sessions.by_id

    def _names_foreign(self, body: bytes) -> bool:
        """Whether a session is named in it that does not live here."""
        if b"session:" not in body:
            return False
        here = self._hub.sessions.by_id
        return any(found.decode() not in here for found in _NAMED.findall(body))
