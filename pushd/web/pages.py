"""The pages for people: one look, no file from elsewhere, a script for comfort in /docs only."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from pushd import __version__

# In commands to paste; what serves a page puts in the address that it was asked at.
ADDRESS = "http://localhost:8080"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M2 8h9M7 3l5 5-5 5' fill='none' stroke='%230b5cad' stroke-width='2.5'/%3E%3C/svg%3E"
)
STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --quiet: #566070; --paper: #fbfbf9;
  --card: #ffffff; --line: #dfe2e6; --accent: #0b5cad; --code: #f1f2f0;
  --get: #0b6b4f; --post: #0b5cad; --put: #8a5a00; --delete: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebf0; --quiet: #9aa5b4; --paper: #14171c; --card: #1a1e25; --line: #2b313a;
    --accent: #6cb2ff; --code: #20252d;
    --get: #63d2a8; --post: #6cb2ff; --put: #e8b45a; --delete: #ff8a80; }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .6rem; }
p { margin: .6rem 0; } .quiet { color: var(--quiet); }
a { color: var(--accent); }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
code, pre { font: .9em/1.55 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--code); border-radius: 6px; padding: .75rem .9rem; margin: .5rem 0;
  overflow-x: auto; }
ul.list { list-style: none; padding: 0; margin: 0; border-top: 1px solid var(--line); }
ul.list li { border-bottom: 1px solid var(--line); }
ul.list li > a, ul.list li > div { display: flex; gap: .1rem 1rem; flex-wrap: wrap;
  justify-content: space-between; align-items: baseline; padding: .65rem 0;
  text-decoration: none; color: inherit; }
ul.list a:hover code, ul.list a:hover b { text-decoration: underline; }
ul.list a code, ul.list a b { color: var(--accent); font-weight: 600; }
.m { font-weight: 700; font-size: .82em; letter-spacing: .02em; }
.GET { color: var(--get); } .POST { color: var(--post); } .PUT { color: var(--put); }
.DELETE { color: var(--delete); }
"""


def document(title: str, body: str, style: str = "", script: str = "") -> str:
    """A whole page. ``body`` is HTML, ``title`` is text."""
    end = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="{_ICON}">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style>{body}{end}</html>"
    )


def breakable(path: str) -> str:
    """As HTML: a long path breaks where it has a slash."""
    return escape(path).replace("/", "/<wbr>")


def _links(items: Iterable[tuple[str, str, str]]) -> str:
    rows = (
        f'<li><a href="{escape(href)}"><b>{escape(name)}</b>'
        f'<span class="quiet">{escape(what)}</span></a></li>'
        for href, name, what in items
    )
    return f'<ul class="list">{"".join(rows)}</ul>'


def _routes(items: Iterable[tuple[str, str, str]]) -> str:
    rows = (
        f'<li><div><span><span class="m {method}">{method}</span> '
        f'<code>{breakable(path)}</code></span><span class="quiet">{escape(what)}</span></div></li>'
        for method, path, what in items
    )
    return f'<ul class="list">{"".join(rows)}</ul>'


def home(prefix: str) -> str:
    channel = f"{prefix}/v1/channels/CHANNEL/messages"
    pages = (
        ("/docs", "Reference", "every route, with examples"),
        ("/console/", "Console", "what is running"),
        ("/openapi.json", "OpenAPI", "the routes, for programs"),
        ("/asyncapi.json", "AsyncAPI", "the frames, for programs"),
        ("/metrics", "Metrics", "what is counted"),
        ("/readyz", "Ready", "whether it serves"),
        ("/healthz", "Health", "whether it turns"),
    )
    routes = (
        ("POST", channel, "publish"),
        ("GET", channel, "pull, or wait for more"),
        ("GET", f"{prefix}/v1/ws?channels=CHANNEL", "hints over a WebSocket"),
        ("GET", f"{prefix}/v1/events?channels=CHANNEL", "hints as server-sent events"),
        ("POST", f"{prefix}/v1/pull", "many channels at once"),
    )
    return document(
        "pushd",
        f"""<main><h1>pushd is running</h1>
<p class="quiet">A durable push server, version {escape(__version__)}:
publish → log → hint → pull.</p>
<h2>Here</h2>{_links(pages)}
<h2>For clients and publishers</h2>{_routes(routes)}
<p class="quiet">Every call carries <code>Authorization: Bearer …</code>: the key of a service, or
the token of a user. <code>pushctl serve --dev</code> makes some up and prints commands to
paste.</p></main>""",
    )


def console(prefix: str) -> str:
    routes = (
        ("GET", f"{prefix}/v1/stats", "this node in numbers"),
        ("GET", f"{prefix}/v1/nodes", "the nodes"),
        ("GET", f"{prefix}/v1/users?online=true", "who is online"),
        ("GET", f"{prefix}/v1/users/USER", "one user: sessions, lag, unread"),
        ("GET", f"{prefix}/v1/sessions", "live sessions"),
        ("GET", f"{prefix}/v1/channels?prefix=", "channels"),
        ("GET", f"{prefix}/v1/channels/CHANNEL/receipts", "who has it, who has read it"),
    )
    return document(
        "pushd console",
        f"""<main><h1>Console</h1>
<p>There is no console in this version. What it will show is served as JSON to keys with scope
<code>read</code> or <code>admin</code>:</p>{_routes(routes)}
<pre>curl -H "Authorization: Bearer $KEY" \\
  {ADDRESS}{escape(prefix)}/v1/stats</pre>
<p class="quiet"><a href="/docs">All routes</a> · <a href="/">Home</a></p></main>""",
    )
