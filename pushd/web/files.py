"""The JavaScript client, served as it is: ``/client.js`` and the modules that it imports."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from quart import Response, request
from quart_trio import QuartTrio

from pushd.errors import NotFound

SCRIPT: Final = "text/javascript; charset=utf-8"
_PACKAGE: Final = Path(__file__).parents[1]
# Where an installed pushd has them, and where a checkout has.
_PLACES: Final = (_PACKAGE / "web" / "client", _PACKAGE.parent / "client-js" / "src")
_ENTRY: Final = b"export * from './client/index.js'\n"
# Soon after an update every page has the new one; until then it costs a question.
_CACHE: Final = "public, max-age=300"


@cache
def client_files() -> dict[str, bytes]:
    """The modules by name. Empty in an installation without them."""
    for place in _PLACES:
        if (place / "index.js").is_file():
            return {path.name: path.read_bytes() for path in place.glob("*.js")}
    return {}


def add_files(app: QuartTrio) -> None:
    """Open to everybody, and to pages of every origin: they hold no secret."""

    @app.get("/client.js")
    async def client() -> Response:
        return _script(_ENTRY if client_files() else None)

    @app.get("/client/<name>")
    async def module(name: str) -> Response:
        return _script(client_files().get(name))


def _script(body: bytes | None) -> Response:
    if body is None:
        raise NotFound("There is no such file of the client here.")
    response = Response(body, content_type=SCRIPT)
    response.headers["Cache-Control"] = _CACHE
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(hashlib.sha256(body).hexdigest()[:16])
    if request.if_none_match.contains(response.get_etag()[0] or ""):
        response.status_code = 304
        response.set_data(b"")
    return response
