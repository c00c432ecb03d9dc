"""Logging: JSON lines for machines, readable lines on a terminal, and never a credential."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

# A JWT starts with base64url of '{"' (or '{ ', '{\n'); one that was cut off counts too.
_JWT = re.compile(r"(?:eyJ|eyA|ewo|ew0)[\w-]{4,}(?:\.[\w-]*){1,4}")
# What nodes show each other; the JSON in it begins with '["'.
_NODE = re.compile(r"pushd-node\.[\w-]*(?:\.[\w-]*)?")
# Passwords in addresses: redis://user:password@host.
_ADDRESS = re.compile(r"(://[^\s/@:]*:)[^\s/@]+(?=@)")
# Authorization headers, and the WebSocket subprotocol bearer.TOKEN.
_BEARER = re.compile(r"(?i)(bearer)(?:\s+|\.|%20|\+)[^\s\"',;]+")
# Query strings, forms and settings (x_token=, API_KEY=), also percent-encoded once.
_NAMED = re.compile(r"(?i)(token|secret|password|api_?key|cluster_?key)(=|%3D)[^\s&\"'#;]+")
# What Python or JSON shows of an object with such a member: {'token': '…'}, {"token":"…"}.
_MEMBER = re.compile(
    r"""(?i)(token|secret|password|api_?key|cluster_?key|authorization|cookie)(['"]\s*:\s*b?)(['"]).*?\3"""
)
_SECRET_NAMES = frozenset(
    {"authorization", "token", "secret", "password", "api_key", "jwt_secret", "credential"}
    | {"webhook_secret", "cluster_key"}
)
_FIRST = ("time", "level", "logger", "event")  # of a line, for people who read them raw
# Frameworks that log per frame or per request at INFO.
_CHATTY = ("hypercorn", "hypercorn.error", "hypercorn.access", "quart", "trio-websocket", "wsproto")


def redact_text(text: str) -> str:
    """``text`` without whatever looks like a JWT, a bearer credential or a ``token=`` value, or a
    password in an address."""
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    text = _NAMED.sub(rf"\1\2{REDACTED}", text)
    text = _MEMBER.sub(rf"\1\2\3{REDACTED}\3", text)
    text = _ADDRESS.sub(rf"\1{REDACTED}", text)
    return _JWT.sub(REDACTED, _NODE.sub(REDACTED, text))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Structlog processor. Stands after all that add text, just before the rendering."""
    ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
    return {key: _clean(value, key) for key, value in ordered.items()}


def _clean(value: Any, name: object = "") -> Any:
    """The same value in shape; objects that are no plain data become their redacted repr."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(name, str) and name.lower() in _SECRET_NAMES:
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return redact_text(bytes(value).decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item, key) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return redact_text(repr(value))


class _Unfailing:
    """A full disk or a closed terminal costs the line, never whoever had something to say."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure(form: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Set structlog and the standard library's logging up. Call it again to change it.

    ``form``: json, console, or auto (console when ``stream`` is a terminal). ``stream``: standard
    error by default; standard output stays free for what commands print. Logging raises nothing
    when the stream takes no more.
    """
    stream = sys.stderr if stream is None else stream
    console = form == "console" or (form == "auto" and stream.isatty())
    shared = _shared_processors()
    render: list[Processor] = [redact, _renderer(console, stream)]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Unfailing(stream))),
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(shared, render, stream)


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        # As text already here, so that it is redacted with the rest.
        structlog.processors.format_exc_info,
    ]


def _renderer(console: bool, stream: TextIO) -> Processor:
    if not console:
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    colours = stream.isatty() and not os.environ.get("NO_COLOR")
    return structlog.dev.ConsoleRenderer(colors=colours, timestamp_key="time")


def _route_standard_logging(
    shared: list[Processor], render: list[Processor], stream: TextIO
) -> None:
    """Libraries log through ``logging``: the same form and redaction, warnings and worse only."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    for old in [item for item in root.handlers if isinstance(item, logging.StreamHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _CHATTY:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
