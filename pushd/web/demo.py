"""The demo pages of development mode: plain files, whose links sign in as different people."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from quart import Response
from quart_trio import QuartTrio

from pushd.errors import NotFound

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def _files() -> dict[str, tuple[Path, str]]:
    """By name, pages without their ending; with their media types. Looked for each time: whoever
    plays with them wants to see it."""
    found = {}
    for path in (Path(__file__).parent / "demo").iterdir():
        if (kind := _TYPES.get(path.suffix)) is not None:
            found[path.stem if path.suffix == ".html" else path.name] = (path, kind)
    return found


def add_demo(app: QuartTrio) -> None:
    """``/demo/chat``, ``/demo/inbox``, and what they load."""

    @app.get("/demo/<name>")
    async def show(name: str) -> Response:
        path, kind = _files().get(name, (None, ""))
        if path is None:
            raise NotFound(f"There is no demo {name!r}.")
        response = Response(path.read_bytes(), content_type=kind)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response
