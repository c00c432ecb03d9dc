"""The description of the WebSocket's frames (AsyncAPI 3), made from their types."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import msgspec

from pushd import __version__
from pushd.core.frames import RECONNECT, ClientFrame
from pushd.web.frames import ServerFrame

REF = "#/components/schemas/{name}"
CHANNEL = "session"


def asyncapi(prefix: str = "") -> dict[str, Any]:
    """``prefix``: the setting path_prefix."""
    named = {**_named("server", ServerFrame), **_named("client", ClientFrame)}
    schemas, components = msgspec.json.schema_components(list(named.values()), ref_template=REF)
    messages = {
        name: _message(name, kind, schema)
        for (name, kind), schema in zip(named.items(), schemas, strict=True)
    }
    closes = ", ".join(f"{code} ({_again(code)})" for code in RECONNECT)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "pushd frames",
            "version": __version__,
            "description": "Text frames, one JSON object each. Receivers ignore types and members "
            f"that they do not know. Close codes: {closes}.",
        },
        "defaultContentType": "application/json",
        "channels": {
            CHANNEL: {
                "address": f"{prefix}/v1/ws",
                "description": "Subprotocol pushd.v1; the token in Authorization, as subprotocol "
                "bearer.TOKEN, as ?token=, or in the first frame (auth).",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "hear": _operation("send", "What the server sends.", "server", messages),
            "say": _operation("receive", "What a client may send.", "client", messages),
        },
        "components": {"messages": messages, "schemas": components},
    }


def _named(side: str, frames: Any) -> dict[str, Any]:
    return {f"{side}-{each.__struct_config__.tag}": each for each in get_args(frames)}


def _message(name: str, kind: type, schema: dict[str, Any]) -> dict[str, Any]:
    described = {"name": name.partition("-")[2], "payload": schema}
    # Without one of its own a struct has a docstring that only repeats its members.
    text = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    if text and not text.startswith(kind.__name__ + "("):
        described["summary"] = text
    return described


def _again(code: int) -> str:
    return "come again" if RECONNECT[code] else "do not come again as you are"


def _operation(action: str, summary: str, side: str, messages: dict[str, Any]) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "messages": [
            {"$ref": f"#/channels/{CHANNEL}/messages/{name}"}
            for name in messages
            if name.startswith(side)
        ],
    }
