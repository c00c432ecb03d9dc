"""Which request goes where. The hot routes exist here only; everything else is handed over."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import msgspec

from pushd.core.history import parse_back
from pushd.core.names import check_channel
from pushd.core.permissions import Identity
from pushd.core.responses import head_of
from pushd.errors import BadRequest, Forbidden, MethodNotAllowed, NotFound, NotReady
from pushd.front.bodies import DEFAULT_LIMIT
from pushd.front.caller import Caller
from pushd.front.calls import call
from pushd.front.connection import Engine, HttpConnection
from pushd.front.greetings import Greetings
from pushd.front.heavy import HEAVY, serve_in_turn
from pushd.front.history import History
from pushd.front.inbox import get_inbox
from pushd.front.marks import read
from pushd.front.multipull import ack, multi_pull
from pushd.front.origins import answer_preflight
from pushd.front.presence import get_presence
from pushd.front.publishes import content_type, publish_many, publish_one
from pushd.front.pulls import SinglePull, parse_ask
from pushd.front.query import decode_part, parse_query
from pushd.front.request import Request, RequestLimits, RequestReader
from pushd.hook import Unasked
from pushd.hub import Hub
from pushd.nodetokens import PREFIX

Handler = Callable[[HttpConnection, Request], None]
# What serves a pull, the channel, and what is asked of it.
Asked = tuple[Callable[[HttpConnection, Identity, str, Any], "SinglePull | History"], str, Any]

_CHANNELS = b"/v1/channels/"
_MESSAGES = b"/messages"
_GROUPS = b"/v1/groups/"
_MEMBERS = b"/members"
# What one channel has beside pulls, and by which method.
_PARTS: dict[bytes, tuple[bytes, Callable[[HttpConnection, Request, str], None]]] = {
    b"messages": (b"POST", publish_one),
    b"read": (b"POST", read),
    b"presence": (b"GET", get_presence),
}
ENDS = tuple(b"/" + part for part in _PARTS)
_WITHOUT_PREFLIGHT = frozenset({b"/healthz", b"/readyz"})
_NODE = b"Bearer " + PREFIX.encode()
MAX_NODE_BODY = 8 * 1024 * 1024
MAX_KEPT_TARGET = 512  # bytes of a pull's target that is remembered with what it means


class Engines(NamedTuple):
    """What takes connections over: the WebSocket side, and the web framework; and what keeps
    one for a stream of events."""

    websocket: Engine
    web: Engine
    events: Handler


class Routes:
    """The dispatcher of all HTTP connections."""

    def __init__(self, hub: Hub, engines: Engines, *, admin: bool = True) -> None:
        """``admin`` False: only what clients and publishers need is served."""
        self._admin = admin
        self._hub = hub
        self._engines = engines
        self._prefix = hub.settings.path_prefix.encode()
        self._limits = RequestLimits(hub.settings.max_head, hub.settings.max_headers)
        self._fixed: dict[bytes, dict[bytes, Handler]] = {
            b"/healthz": {b"GET": _healthz, b"HEAD": _healthz},
            b"/readyz": {b"GET": _readyz, b"HEAD": _readyz},
            self._prefix + b"/v1/publish": {b"POST": publish_many},
            self._prefix + b"/v1/pull": {b"POST": multi_pull},
            self._prefix + b"/v1/ack": {b"POST": ack},
            self._prefix + b"/v1/inbox": {b"GET": get_inbox},
            self._prefix + b"/v1/call": {b"POST": call},
            self._prefix + b"/v1/events": {b"GET": engines.events},
        }
        self._channels = self._prefix + _CHANNELS
        self._groups = self._prefix + _GROUPS
        self._websocket = self._prefix + b"/v1/ws"
        settings = hub.settings
        self.greetings = Greetings(
            settings.max_handshakes, settings.max_handshakes_per_address, settings.trusted_proxies
        )
        self._dev = hub.settings.dev
        # After a hint everybody asks for the same target: what was parsed once is kept.
        self._asked = lru_cache(maxsize=8192)(self._parse_pull)

    def reader(self, caller: Caller) -> RequestReader:
        return RequestReader(self._limits, partial(self._body_limit, caller), self._hub.bodies)

    def _body_limit(self, caller: Caller, request: Request) -> int:
        settings = self._hub.settings
        if self._hub.cluster_routes and request.headers.get(b"authorization", b"").startswith(
            _NODE
        ):
            caller.identify(request)
            return max(MAX_NODE_BODY, settings.max_batch_body)
        path = request.path
        bulk = path.startswith(self._groups) and path.endswith(_MEMBERS)
        if bulk or path == self._prefix + b"/v1/publish":
            # Large bodies only from those who may send something at all.
            try:
                caller.identify(request)
            except Unasked as unasked:
                caller.gate = unasked.question
            batch = not bulk and content_type(request) == b"application/x-ndjson"
            return settings.max_batch_body if batch else settings.max_publish_body
        # Room for the envelope around a message of the largest size.
        return settings.max_body + 1024

    def dispatch(self, connection: HttpConnection, request: Request) -> None:
        """Serve, or hand over. Raises PushdError."""
        if self._dev:
            _check_loopback(request)
        target = request.target
        if target.startswith(self._channels):
            if request.method == b"GET" and _MESSAGES in target:
                identity = connection.caller.identify(request)
                parse = self._asked if len(target) <= MAX_KEPT_TARGET else self._parse_pull
                if (asked := parse(target)) is not None:
                    kind, name, ask = asked
                    kind(connection, identity, name, ask).start()
                    return
            part = request.path[len(self._channels) :]
            if part.endswith(ENDS):
                self._channel(connection, request, part)
                return
        self._elsewhere(connection, request)

    def _elsewhere(self, connection: HttpConnection, request: Request) -> None:
        path = request.path
        if request.upgrade:
            if path != self._websocket:
                raise BadRequest(f"WebSockets are served at {self._websocket.decode()}.")
            connection.hand_over(self._engines.websocket, request)
            return
        if request.method == b"OPTIONS" and request.target.startswith(self._prefix + b"/v1/"):
            connection.respond(answer_preflight(self._hub, request))
            return
        methods = self._fixed.get(path)
        if methods is None and path in self._hub.cluster_routes:
            self._for_nodes(connection, request)
            return
        if methods is None:
            if path == self._websocket:
                raise BadRequest("This is a WebSocket: connect with an Upgrade.")
            if not self._admin and not _is_client_file(path):
                raise NotFound("This is not served here: pushd has an address of its own for it.")
            connection.hand_over(self._engines.web, request)
            return
        handler = methods.get(request.method)
        if handler is None:
            preflight = () if path in _WITHOUT_PREFLIGHT else (b"OPTIONS",)
            raise _not_allowed(*methods, *preflight)
        if len(request.body) > HEAVY and handler is not publish_many:  # which sees to it itself
            serve_in_turn(handler, connection, request)
        else:
            handler(connection, request)

    def _for_nodes(self, connection: HttpConnection, request: Request) -> None:
        """They see to their own bodies, which are not those of clients."""
        methods = self._hub.cluster_routes[request.path]
        handler = methods.get(request.method)
        if handler is None:
            raise _not_allowed(*methods)
        handler(connection, request)

    def _parse_pull(self, target: bytes) -> Asked | None:
        part, _, query = target[len(self._channels) :].partition(b"?")
        if not part.endswith(_MESSAGES):
            return None
        name = _channel_name(part[: -len(_MESSAGES)])
        given = parse_query(query)
        most = self._hub.settings.max_pull_messages
        if "before" in given or "last" in given:
            return History, name, parse_back(given, DEFAULT_LIMIT, most)
        return SinglePull, name, parse_ask(given, most, self._hub.settings.max_wait)

    def _channel(self, connection: HttpConnection, request: Request, part: bytes) -> None:
        """What one channel has beside pulls: publishes, read marks, who is there."""
        name, _, what = part.rpartition(b"/")
        method, serve = _PARTS[what]
        if request.method == method:
            if len(request.body) > HEAVY:
                serve_in_turn(serve, connection, request, _channel_name(name))
            else:
                serve(connection, request, _channel_name(name))
        elif request.method == b"OPTIONS":
            connection.respond(answer_preflight(self._hub, request))
        elif what == b"messages":
            raise _not_allowed(b"GET", b"POST", b"OPTIONS")
        else:
            raise _not_allowed(method, b"OPTIONS")


def _is_client_file(path: bytes) -> bool:
    """The JavaScript client: for pages, wherever the admin side is."""
    return path == b"/client.js" or path.startswith(b"/client/")


def _not_allowed(*methods: bytes) -> MethodNotAllowed:
    allow = b", ".join(methods).decode()
    return MethodNotAllowed(f"Only {allow} here.", extra={"allow": allow})


_LOOPBACK = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")


def _check_loopback(request: Request) -> None:
    """Development keys are printed and everything is allowed: no name that a page could rebind."""
    if not _LOOPBACK.fullmatch(request.headers.get(b"host", b"localhost")):
        raise Forbidden(
            "In development mode only localhost is served.", cure="Start without --dev."
        )


@lru_cache(maxsize=16384)
def _channel_name(part: bytes) -> str:
    return check_channel(decode_part(part))


def _healthz(connection: HttpConnection, request: Request) -> None:
    """The loop turns: that is all it says."""
    _state(connection, request, {"status": "ok"})


def _readyz(connection: HttpConnection, request: Request) -> None:
    hub = connection.hub
    if not hub.ready:
        raise NotReady("The server is starting or stopping.", retry_after=1)
    _state(connection, request, {"status": "ready", "node": hub.node_id})


def _state(connection: HttpConnection, request: Request, state: dict[str, str]) -> None:
    answer = connection.hub.responses.make(200, msgspec.json.encode(state))
    connection.respond(head_of(answer) if request.method == b"HEAD" else answer)
