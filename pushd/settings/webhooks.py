"""Settings of calls to the application, and of what it is told by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pushd.settings.application import OptionalUrl
from pushd.settings.declare import setting
from pushd.settings.kinds import BadValueError, Count, Duration, Kind
from pushd.settings.tables import suggestion
from pushd.settings.texts import Texts

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")

EVENTS = (
    "message.published",
    "session.opened",
    "session.closed",
    "user.online",
    "user.offline",
)


class OptionalModule(Kind[str | None]):
    """The name of a Python module, or none."""

    form, metavar = "myapp.push", "MODULE"

    def parse(self, text: str) -> str | None:
        if text.strip().lower() in ("", "none"):
            return None
        if not _MODULE.fullmatch(text):
            raise ValueError(f"{text!r} is no name of a Python module, like myapp.push")
        return text

    def show(self, value: str | None) -> str:
        return value or "none"

    def plain(self, value: str | None) -> object:
        return value


class Events(Texts):
    """Some of the events, ``all`` of them, or none."""

    form, metavar = "message.published,user.online", "EVENT,..."
    in_quotes = True

    def read(self, events: list[str]) -> tuple[str, ...]:
        if events == ["all"]:
            return EVENTS
        problems = [
            f"there is no event {event!r}.{suggestion(event, EVENTS)}"
            for event in events
            if event not in EVENTS
        ]
        if problems:
            raise BadValueError(problems)
        return tuple(dict.fromkeys(events))


@dataclass(frozen=True, kw_only=True)
class Webhooks:
    """Calls and webhooks"""

    handlers: str | None = setting(
        None,
        OptionalModule(),
        "Python module whose handlers answer calls; found as 'python -m' would find it here.",
    )
    webhook_url: str | None = setting(
        None,
        OptionalUrl(),
        "Address of the application: calls without a handler and events are posted there, signed.",
    )
    webhook_events: tuple[str, ...] = setting(
        (),
        Events(),
        f"What the application is told of: all, or some of {', '.join(EVENTS)}. Messages: those of "
        "namespaces with webhook = true.",
    )
    webhook_timeout: float = setting(
        5.0, Duration(0.01, 300), "Time for the application to answer one request."
    )
    webhook_connections: int = setting(
        32, Count(1, 10_000), "Requests to the application at a time; others wait."
    )
    webhook_queue: int = setting(
        10_000,
        Count(1, 10_000_000),
        "Events of sessions and users that wait for the application; then the oldest are lost.",
    )
    call_timeout: float = setting(
        10.0, Duration(0.01, 300), "Time for one call, with all attempts to have it answered."
    )
    max_calls: int = setting(256, Count(1, 100_000), "Calls under way on this node; then 503.")
    max_calls_per_user: int = setting(
        8, Count(1, 100_000), "Calls of one user under way; then 503."
    )
