"""What /docs tells beside the operations: frames, refusals, and how a web page follows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec

from pushd import errors
from pushd.core.responses import problem_body
from pushd.errors import PushdError
from pushd.web.example import EXAMPLE
from pushd.web.schematext import shape

SIDES = {"server": "From the server", "client": "From the client"}
_CODE = re.compile(r"``?([^`]+)``?")
# Of tools and starts, never of a request.
_NOT_ASKED = frozenset({"cannot_start", "not_a_log", "backup_failed", "restore_refused",
                        "bad_setting"})  # fmt: skip


def prose(text: str) -> str:
    """Text with words in backticks, as HTML."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def frames(described: dict[str, Any]) -> str:
    """``described``: the AsyncAPI description."""
    components = described["components"]
    parts = []
    for side, title in SIDES.items():
        rows = "".join(
            _frame(name, message, components["schemas"])
            for name, message in components["messages"].items()
            if name.startswith(side)
        )
        parts.append(f'<h3 id="{side}-frames">{title}</h3>{rows}')
    about = prose(described["info"]["description"])
    return (
        f'<section><h2 id="frames">Frames</h2><p>{about} Events of <code>/v1/events</code> carry '
        f"the same JSON as what the server sends here.</p>{''.join(parts)}</section>"
    )


def _frame(name: str, message: dict[str, Any], schemas: dict[str, Any]) -> str:
    text = shape(message["payload"], schemas)
    return (
        f'<details><summary class="frame"><code>{escape(message["name"])}</code>'
        f'<span class="quiet">{prose(message.get("summary", ""))}</span></summary>'
        f'<div id="{name}"><pre>{escape(text)}</pre></div></details>'
    )


def refusals() -> str:
    rows = "".join(
        f'<li><div><span><b>{status}</b> <code>{code}</code></span><span class="quiet">'
        f"{escape(cure)}</span></div></li>"
        for status, code, cure in sorted(set(_table()))
    )
    problem = problem_body(errors.NotFound("There is no such session on this node."))
    example = msgspec.json.format(problem).decode()
    return f"""<section><h2 id="refusals">Refusals</h2><p>Every refusal is a problem object
(RFC 9457). The <code>code</code> is stable, <code>detail</code> says what was wrong this time and
<code>cure</code> what to do; resets (410) bring <code>resume</code>, the cursor to go on from.</p>
<pre class="wrap">{escape(example)}</pre><ul class="list refusals">{rows}</ul></section>"""


def _table() -> Iterator[tuple[int, str, str]]:
    kinds = [PushdError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        abstract = kind is errors.Reset
        if kind.__module__ == errors.__name__ and kind.code not in _NOT_ASKED and not abstract:
            yield kind.status, kind.code, kind.cure


def web_page() -> str:
    return f"""<section><h2 id="web-page">From a web page</h2>
<p>Hints over a WebSocket say when to pull, <code>POST /v1/pull</code> brings what is new. The
origin of the page has to be in the setting <code>origins</code>. No cookies are used: leave out
<code>credentials</code>, and give <code>fetch</code> a <code>Content-Type</code>, since it sends
text as <code>text/plain</code>, which is published as a string.</p>
<pre id="web-page-example">{escape(EXAMPLE)}</pre></section>"""
