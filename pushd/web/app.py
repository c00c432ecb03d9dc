"""The Quart app: pages and operations that may take a millisecond more."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec
import structlog
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from pushd.core.responses import PROBLEM, problem_body, problem_headers
from pushd.errors import BadRequest, MethodNotAllowed, NotFound, PushdError
from pushd.hub import Hub
from pushd.metrics import CONTENT_TYPE
from pushd.web.asyncapi import asyncapi
from pushd.web.call import Call, identify, is_local, parse_call
from pushd.web.demo import add_demo
from pushd.web.docs import docs_page
from pushd.web.docs_script import SCRIPT_SOURCE
from pushd.web.files import add_files
from pushd.web.metrics import make_collector
from pushd.web.openapi import openapi
from pushd.web.operation import JSON, Operation
from pushd.web.pages import ADDRESS, console, home
from pushd.web.table import ADMIN, PAGES, full_path

log = structlog.get_logger("pushd.admin")

HTML: Final = "text/html; charset=utf-8"
_HOST: Final = re.compile(
    r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](:[0-9]{1,5})?"
)
_METRICS: Final = next(each for each in PAGES if each.name == "metrics")


def make_app(hub: Hub) -> QuartTrio:
    """All routes that are not hot. Every answer is one problem object when it is a refusal."""
    app = QuartTrio("pushd.web", static_folder=None)
    # Answered as what they are: the framework's redirects name a host, wrongly behind a proxy.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    for operation in ADMIN:
        _register(app, hub, operation)
    _add_pages(app, hub)
    add_files(app)
    if hub.settings.dev:
        add_demo(app)
    _add_metrics(app, hub)

    @app.after_request
    async def finish(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        origin = request.headers.get("Origin")
        open_to_all = response.headers.get("Access-Control-Allow-Origin") == "*"
        if origin is not None and not open_to_all and hub.origins.allows(origin):
            # The same as on the hot routes; preflights are answered there for all of /v1.
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            if hub.authenticator.takes_cookies:
                response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Vary"] = "Origin"
        return response

    _answer_errors(app, hub)
    return app


def _register(app: QuartTrio, hub: Hub, operation: Operation) -> None:
    """One operation: its caller and parameters are checked before its handler runs."""
    handler = operation.handler
    assert handler is not None
    answer = operation.answers[0]

    async def serve(**_: str) -> Response:
        call = await parse_call(hub, operation)
        result = await handler(call)
        if operation.method != "GET":
            _record(operation, call)
        if answer.type is None:
            return _empty(answer.status)
        body = msgspec.json.encode(result)
        return Response(body, status=answer.status, content_type=JSON)

    rule = full_path(operation, hub.settings.path_prefix).replace("{", "<").replace("}", ">")
    app.add_url_rule(rule, operation.name, serve, methods=[operation.method])


def _record(operation: Operation, call: Call) -> None:
    """Who changed what."""
    given = {**call.args, **msgspec.to_builtins(call.body or {})}
    told = {
        name: len(value) if isinstance(value, list) else value  # thousands of members, say
        for name, value in given.items()
        if value is not None
    }
    log.info("done", operation=operation.name, key=call.identity.key_name, **told)


def _empty(status: int) -> Response:
    """204 has neither a body nor a length (RFC 9110, 8.6)."""
    response = Response(b"", status=status)
    del response.headers["Content-Type"]
    del response.headers["Content-Length"]
    return response


def _add_pages(app: QuartTrio, hub: Hub) -> None:
    prefix = hub.settings.path_prefix
    described = cache(lambda: openapi(prefix))
    # Made when first asked for, then kept: they only change with the program.
    pages: dict[str, Any] = {
        "/": cache(lambda: home(prefix)),
        "/console/": cache(lambda: console(prefix)),
        "/docs": cache(lambda: docs_page(described(), asyncapi(prefix), prefix)),
    }
    documents: dict[str, Any] = {
        "/openapi.json": cache(lambda: msgspec.json.encode(described())),
        "/asyncapi.json": cache(lambda: msgspec.json.encode(asyncapi(prefix))),
    }

    async def show() -> Response:
        return _page(pages[request.path]().replace(ADDRESS, _address()))

    async def tell() -> Response:
        return Response(documents[request.path](), content_type=JSON)

    async def redirect() -> Response:
        target = "/console/" if request.path == "/console" else "/docs"
        return Response("", status=308, headers={"Location": target})

    for path in pages:
        app.add_url_rule(path, path, show)
    for path in documents:
        app.add_url_rule(path, path, tell)
    for path in ("/console", "/docs/"):
        app.add_url_rule(path, path, redirect, strict_slashes=True)


def _add_metrics(app: QuartTrio, hub: Hub) -> None:
    collector = make_collector(hub)

    @app.get("/metrics")
    async def metrics() -> Response:
        if not is_local():
            await identify(hub, _METRICS)
        return Response(collector.render(), content_type=CONTENT_TYPE)


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
    response = Response(problem_body(error), status=error.status, content_type=PROBLEM.decode())
    response.headers.extend(problem_headers(error))
    return response


def _address() -> str:
    """Where this page was asked for: commands to paste name it."""
    host = request.headers.get("Host", "")
    scheme = request.headers.get("X-Forwarded-Proto", "http")
    usable = _HOST.fullmatch(host) and scheme in ("http", "https")
    return f"{scheme}://{host}" if usable else ADDRESS


def _page(text: str) -> Response:
    response = Response(text, content_type=HTML)
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {SCRIPT_SOURCE}; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return response
