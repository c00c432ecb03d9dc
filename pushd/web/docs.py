"""The page /docs: the description of the API for people, made from what programs get."""

from __future__ import annotations

from html import escape
from typing import Any

from pushd.core.positions import MAX_SEQ
from pushd.web.docs_script import SCRIPT
from pushd.web.docs_sections import SIDES, frames, prose, refusals, web_page
from pushd.web.hot import EVENTS
from pushd.web.operation import JSON, Operation, Param
from pushd.web.pages import ADDRESS, breakable, document
from pushd.web.schematext import shape
from pushd.web.table import OPERATIONS, TAGS, full_path

STYLE = """
.page { max-width: 78rem; margin: 0 auto; padding: 0 1.25rem; }
.page main { max-width: none; margin: 0; padding: 2.5rem 0 4rem; min-width: 0; }
nav { padding: 1.25rem 0 0; font-size: .92rem; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav > ul > li { display: inline-block; margin: 0 .9rem .4rem 0; } nav ul ul { display: none; }
nav input { width: 100%; margin: 0 0 1rem; padding: .45rem .6rem; font: inherit; color: inherit;
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
nav ul ul a { color: var(--quiet); }
@media (min-width: 62rem) {
  .page { display: grid; grid-template-columns: 15rem minmax(0, 46rem); gap: 3.5rem;
    justify-content: center; }
  nav { position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 2.75rem 2px;
    scrollbar-width: thin; scrollbar-color: var(--line) transparent; }
  nav > ul > li { display: block; margin: 0 0 1rem; font-weight: 600; }
  nav ul ul { display: block; font-weight: 400; line-height: 1.75; }
}
details { border: 1px solid var(--line); border-radius: 8px; background: var(--card);
  margin: .6rem 0; }
summary { cursor: pointer; padding: .65rem .9rem; display: grid; list-style: none;
  grid-template-columns: 4rem minmax(0, 1fr); gap: 0 .5rem; align-items: baseline; }
summary::-webkit-details-marker { display: none; }
summary .quiet { grid-column: 2; font-size: .93rem; }
summary.frame { grid-template-columns: minmax(0, 1fr); } summary.frame .quiet { grid-column: 1; }
details[open] summary { border-bottom: 1px solid var(--line); }
details > div { padding: .5rem .9rem .9rem; scroll-margin-top: 6rem; }
[hidden] { display: none !important; }
button { font: inherit; font-size: .82rem; color: var(--accent); background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: .2rem .6rem; cursor: pointer; }
h1 + button { float: right; }
.copyable { position: relative; } .copy { position: absolute; top: -1.9rem; right: 0; }
p + .copyable { margin-top: 2.6rem; }
ul.refusals li > div { display: grid; grid-template-columns: 12rem minmax(0, 1fr); }
@media (max-width: 40rem) {
  ul.refusals li > div { grid-template-columns: minmax(0, 1fr); }
  pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
}
h3 { font-size: .78rem; text-transform: uppercase; letter-spacing: .06em; color: var(--quiet);
  margin: 1.1rem 0 .3rem; }
dl { margin: 0; } dt { margin-top: .4rem; } dd { margin: 0 0 0 1rem; }
.tag { font-size: .8rem; color: var(--quiet); }
"""

# In words, after the key; None: nobody needs one.
_WHO: dict[str, str | None] = {
    "open": None,
    "local": ", unless you ask from the same machine",
    "anyone": ", or the token of a user who may",
    "service": "",
}


def docs_page(document_: dict[str, Any], frames_: dict[str, Any], prefix: str) -> str:
    """``document_``: the OpenAPI description; ``frames_``: the AsyncAPI one."""
    components = document_["components"]["schemas"]
    sections = []
    for tag in TAGS:
        of_tag = [operation for operation in OPERATIONS if operation.tag == tag]
        inside = "".join(_operation(each, document_, components, prefix) for each in of_tag)
        title = f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>'
        sections.append(f"<section>{title}{inside}</section>")
    info = document_["info"]
    return document(
        "pushd reference",
        f"""<div class="page">{_navigation()}<main><h1>pushd reference</h1>
<p class="quiet">Version {escape(info["version"])} · <a href="/openapi.json">OpenAPI</a> ·
<a href="/asyncapi.json">AsyncAPI</a> (the frames) · <a href="/">Home</a></p>
<p>{prose(info["description"])}</p><p>The commands take a key from <code>$KEY</code>;
<code>pushctl serve --dev</code> prints one.</p>
{"".join(sections)}{frames(frames_)}{refusals()}{web_page()}</main></div>""",
        STYLE,
        SCRIPT,
    )


def _anchor(tag: str) -> str:
    return "about-" + tag.lower().replace(" ", "-")


def _navigation() -> str:
    rows = []
    for tag in TAGS:
        inside = "".join(
            f'<li><a href="#{each.name}">{escape(each.name.replace("_", " "))}</a></li>'
            for each in OPERATIONS
            if each.tag == tag
        )
        rows.append(f'<li><a href="#{_anchor(tag)}">{escape(tag)}</a><ul>{inside}</ul></li>')
    sides = "".join(
        f'<li><a href="#{side}-frames">{what.lower()}</a></li>' for side, what in SIDES.items()
    )
    rows.append(f'<li><a href="#frames">Frames</a><ul>{sides}</ul></li>')
    rows.append('<li><a href="#refusals">Refusals</a></li>')
    rows.append('<li><a href="#web-page">From a web page</a></li>')
    return f'<nav aria-label="Contents"><ul>{"".join(rows)}</ul></nav>'


def _operation(
    operation: Operation, document_: dict[str, Any], components: dict[str, Any], prefix: str
) -> str:
    path = full_path(operation, prefix)
    described = document_["paths"][path][operation.method.lower()]
    parts = [f"<p>{prose(described['description'])}</p>" if "description" in described else ""]
    if operation.who == "user":
        parts.append('<p class="quiet">The token of a user.</p>')
    elif (who := _WHO.get(operation.who)) is not None:
        scopes = " or ".join(f"<code>{scope}</code>" for scope in operation.scopes)
        key = f"A key with scope {scopes}" if scopes else "Any key"
        parts.append(f'<p class="quiet">{key}{who}.</p>')
    if operation.params:
        rows = "".join(_parameter(each) for each in operation.params)
        parts.append(f"<h3>Parameters</h3><dl>{rows}</dl>")
    if operation.body is not None:
        schema = described["requestBody"]["content"][JSON]["schema"]
        parts.append(f"<h3>Body</h3><pre>{escape(shape(schema, components))}</pre>")
    if operation.answers and operation.answers[0].status != 101:
        command = _curl(operation, path)
        parts.append(f'<h3>Try it</h3><pre class="try wrap">{escape(command)}</pre>')
    for answer in operation.answers:
        parts.append(f"<h3>Answer {answer.status}</h3><p>{escape(answer.help)}</p>")
        content = described["responses"][str(answer.status)].get("content", {})
        if answer.type not in (None, str, dict):
            text = shape(content[answer.media]["schema"], components)
            parts.append(f"<pre>{escape(text)}</pre>")
    refused = ", ".join(map(str, operation.statuses))
    parts.append(f'<h3>Refusals</h3><p><a href="#refusals">{refused}</a></p>')
    method = operation.method
    return (
        f'<details><summary><span class="m {method}">{method}</span>'
        f'<code>{breakable(path)}</code><span class="quiet">{escape(operation.summary)}</span>'
        f'</summary><div id="{operation.name}">{"".join(parts)}</div></details>'
    )


def _parameter(param: Param) -> str:
    need = "needed" if param.required else _default(param)
    return (
        f'<dt><code>{escape(param.name)}</code> <span class="tag">{_range(param)}{need}</span></dt>'
        f"<dd>{escape(param.help)}</dd>"
    )


def _default(param: Param) -> str:
    if param.default in (None, ""):
        return "optional"
    shown = str(param.default).lower() if isinstance(param.default, bool) else param.default
    return f"default {escape(str(shown))}"


def _range(param: Param) -> str:
    kind = param.schema["type"]
    if kind == "integer":
        most = param.schema["maximum"]
        return f"{param.schema['minimum']} to {'2^53−1' if most == MAX_SEQ else most}, "
    return "true or false, " if kind == "boolean" else ""


def _curl(operation: Operation, path: str) -> str:
    for param in operation.params:
        path = path.replace(f"{{{param.name}}}", param.example)
    given = [f"{param.name}={param.example}" for param in operation.queries if param.example]
    first = "curl"
    if operation.method == "DELETE" or (operation.method == "POST" and operation.body is None):
        first += f" -X {operation.method}"
    if operation.who != "open":
        credential = "$TOKEN" if operation.who == "user" else "$KEY"
        first += f' -H "Authorization: Bearer {credential}"'
    if any(answer.media == EVENTS for answer in operation.answers):
        first += " -N"
    parts = [first]
    if operation.body is not None:
        parts += [f"-H 'Content-Type: {JSON}'", f"-d '{operation.body.example}'"]
    parts.append(f'"{ADDRESS}{"?".join([path, *filter(None, ["&".join(given)])])}"')
    return " \\\n  ".join(parts)
