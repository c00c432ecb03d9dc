"""Two plain pages: what this is, and where the console will stand."""

from __future__ import annotations

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --quiet: #5b6675; --paper: #fbfbf9;
  --line: #dfe2e6; --accent: #0b6bcb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebf0; --quiet: #9aa5b4; --paper: #14171c; --line: #2b313a; --accent: #6cb2ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.6 system-ui, sans-serif; }
main { max-width: 42rem; margin: 0 auto; padding: 3rem 1.25rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; }
p { margin: .6rem 0; } .quiet { color: var(--quiet); }
ul { list-style: none; padding: 0; border-top: 1px solid var(--line); }
li { border-bottom: 1px solid var(--line); }
li a, li div { display: flex; gap: .25rem 1rem; flex-wrap: wrap; justify-content: space-between;
  align-items: baseline; padding: .8rem 0; text-decoration: none; color: inherit; }
code { color: var(--accent); font: .92em ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style><main>{body}</main></html>"
    )


HOME = _page(
    "pushd",
    """
<h1>pushd is running</h1>
<p class="quiet">A durable push server, version {{version}}: publish → log → hint → pull.</p>
<ul>
<li><a href="/readyz"><code>/readyz</code><span class="quiet">whether it serves</span></a></li>
<li><a href="/metrics"><code>/metrics</code><span class="quiet">what it counts</span></a></li>
<li><div><code>POST /v1/channels/CHANNEL/messages</code>
<span class="quiet">publish</span></div></li>
<li><div><code>GET /v1/channels/CHANNEL/messages</code>
<span class="quiet">pull, or wait for more</span></div></li>
<li><div><code>GET /v1/ws?channels=CHANNEL</code>
<span class="quiet">hints, over a WebSocket</span></div></li>
</ul>
<p class="quiet">The terminal that started it shows a publisher key, a token, and two commands
to paste.</p>
""",
)

CONSOLE = _page(
    "pushd console",
    """
<h1>Console</h1>
<p>There is no console in this version. What it will show is served as JSON to keys with scope
<code>read</code> or <code>admin</code>:</p>
<ul>
<li><div><code>GET /v1/stats</code><span class="quiet">this node</span></div></li>
<li><div><code>GET /v1/channels?prefix=</code><span class="quiet">channels</span></div></li>
</ul>
""",
)
