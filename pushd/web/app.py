"""The Quart app: pages and operations that may take a millisecond more."""

from __future__ import annotations

import heapq
import time
from typing import Any

import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from pushd import __version__
from pushd.core.permissions import ADMIN, READ, Identity, matches
from pushd.core.pulling import parse_count
from pushd.core.responses import problem_body
from pushd.errors import (
    BadRequest,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    PushdError,
    Unauthorized,
)
from pushd.hub import Hub
from pushd.metrics import CONTENT_TYPE
from pushd.web.metrics import make_collector
from pushd.web.pages import CONSOLE, HOME

MAX_PAGE = 1000
_LOOPBACK = ("127.0.0.1", "::1")


def make_app(hub: Hub) -> QuartTrio:
    """All routes that are not hot. Every answer is one problem object when it is a refusal."""
    app = QuartTrio("pushd.web", static_folder=None)
    prefix = hub.settings.path_prefix
    collector = make_collector(hub)

    @app.get("/")
    async def home() -> Response:
        return _page(HOME.replace("{{version}}", __version__))

    @app.get("/console/")
    async def console() -> Response:
        return _page(CONSOLE)

    @app.get("/console")
    async def to_console() -> Response:
        # The framework's own redirect would name a scheme and host, wrongly behind a proxy.
        return Response("", status=308, headers={"Location": "/console/"})

    @app.get("/metrics")
    async def metrics() -> Response:
        if not _is_local():
            _need(hub, READ, ADMIN)
        return Response(collector.render(), content_type=CONTENT_TYPE)

    @app.get(f"{prefix}/v1/channels")
    async def channels() -> dict[str, Any]:
        return await _channels(hub, _need(hub, READ, ADMIN))

    @app.get(f"{prefix}/v1/stats")
    async def stats() -> dict[str, Any]:
        _need(hub, READ, ADMIN)
        return _stats(hub)

    @app.after_request
    async def finish(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        origin = request.headers.get("Origin")
        if origin is not None and hub.origins.allows(origin):
            # The same as on the hot routes; preflights are answered there for all of /v1.
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            response.headers["Vary"] = "Origin"
        return response

    _answer_errors(app, hub)
    return app


def _answer_errors(app: QuartTrio, hub: Hub) -> None:
    @app.errorhandler(PushdError)
    async def refused(error: PushdError) -> Response:
        hub.counters.errors[error.code] += 1
        return _problem(error)

    @app.errorhandler(HTTPException)
    async def unserved(error: HTTPException) -> Response:
        return _problem(_of_framework(error))

    @app.errorhandler(Exception)
    async def failed(error: Exception) -> Response:
        app.logger.exception("web request failed")
        return _problem(PushdError("The server failed to answer this."))


def _of_framework(error: HTTPException) -> PushdError:
    if error.code == 404:
        return NotFound(f"Nothing is served at {request.path}.")
    if error.code == 405:
        methods = getattr(error, "valid_methods", None) or ()
        return MethodNotAllowed(
            f"{request.method} is not served at {request.path}.",
            extra={"allow": ", ".join(sorted(methods))},
        )
    return BadRequest(error.description or "The request cannot be served.")


def _problem(error: PushdError) -> Response:
    response = Response(
        problem_body(error), status=error.status, content_type="application/problem+json"
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 405:
        response.headers["Allow"] = error.extra["allow"]
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="pushd"'
    return response


def _page(text: str) -> Response:
    response = Response(text, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    )
    return response


def _is_local() -> bool:
    """Asked from this machine, and not by a proxy on it that speaks for somebody else."""
    forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return request.remote_addr in _LOOPBACK and not forwarded


def _need(hub: Hub, *scopes: str) -> Identity:
    """A service with one of these scopes. Raises Unauthorized, Forbidden."""
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise Unauthorized("This needs an API key.")
    identity = hub.authenticator.identify(credential.strip(), time.time())
    if not identity.scopes.intersection(scopes):
        raise Forbidden(f"This needs a key with scope {' or '.join(scopes)}.")
    return identity


async def _channels(hub: Hub, identity: Identity) -> dict[str, Any]:
    """A page of channels by name; ``?next=`` takes the ``next`` of the page before."""
    prefix = request.args.get("prefix", "")
    after = request.args.get("next", "")
    limit = parse_count("limit", request.args.get("limit", "100"), MAX_PAGE)
    # A million names take a while: looked through in a thread, so that the loop goes on.
    found = await trio.to_thread.run_sync(
        _names, list(hub.log.heads), prefix, after, identity.patterns, limit + 1
    )
    items = []
    for name in found[:limit]:
        head = hub.log.heads[name]
        items.append({"channel": name, "epoch": head.epoch, "first": head.first, "head": head.seq})
    return {"items": items, "next": found[limit - 1] if len(found) > limit else None}


def _names(
    names: list[str], prefix: str, after: str, patterns: tuple[str, ...], count: int
) -> list[str]:
    """The first ``count`` in order, of those that a key with these patterns may know of."""
    wanted = (name for name in names if name > after and name.startswith(prefix))
    if patterns:
        wanted = (name for name in wanted if any(matches(each, name) for each in patterns))
    return heapq.nsmallest(count, wanted)


def _stats(hub: Hub) -> dict[str, Any]:
    log = hub.log.statistics()
    return {
        "node": hub.node_id,
        "version": __version__,
        "sessions": len(hub.sessions.by_id),
        "users": len(hub.sessions.by_user),
        "held_polls": len(hub.pulls.held),
        "connections": hub.connections,
        "channels": log.channels,
        "messages": log.messages,
        "backlog_bytes": log.backlog_bytes,
        "wal_bytes": log.wal_bytes,
    }
