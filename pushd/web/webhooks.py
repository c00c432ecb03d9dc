"""What pushd posts to the application, declared for the description only.

A test holds that what is really posted has these forms.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from pushd.calls.webhook import Result
from pushd.web.operation import Schema
from pushd.web.shapes.hot import Pulled

Moment = Annotated[str, msgspec.Meta(description="RFC 3339, in UTC.")]


class CallData(msgspec.Struct):
    """``session``: whose frame it was; null over HTTP. ``id``: the client's, if it gave one."""

    name: str
    id: str | None
    user: str
    device: str | None
    session: str | None
    attributes: dict[str, Any]
    data: Any


class CallPosted(msgspec.Struct):
    """A client calls the application."""

    type: Literal["call"]
    timestamp: Moment
    data: CallData


class Skipped(msgspec.Struct):
    """Messages that cannot be told. ``skipped``: how many, if that is known."""

    code: Literal["expired", "epoch_changed", "cursor_ahead"]
    skipped: int | None


class ToldChannel(msgspec.Struct):
    """``messages`` follow what was told of the channel before; ``reset``: not without a gap."""

    channel: str
    epoch: str
    messages: list[Pulled]
    reset: Skipped | None = None


class MessagesData(msgspec.Struct):
    channels: list[ToldChannel]


class MessagesPosted(msgspec.Struct):
    """Messages of namespaces with webhook = true. Know them again by channel, epoch and seq."""

    type: Literal["messages"]
    timestamp: Moment
    data: MessagesData


class Event(msgspec.Struct):
    """``at``: ms since 1970. ``data``: as the guide says for each type."""

    id: str
    type: Literal[
        "server.started",
        "session.opened",
        "session.closed",
        "user.online",
        "user.offline",
        "events.lost",
    ]
    at: int
    data: dict[str, Any]


class EventsData(msgspec.Struct):
    events: list[Event]


class EventsPosted(msgspec.Struct):
    """Sessions and users that came and went, in order."""

    type: Literal["events"]
    timestamp: Moment
    data: EventsData


class AuthPosted(msgspec.Struct):
    """Who is it? ``token`` null: only headers came. ``headers``: those of ``auth_headers``."""

    token: str | None
    headers: dict[str, str]
    address: str
    node: str


class AuthAnswer(msgspec.Struct):
    """``expires``: Unix seconds, or ``ttl``: seconds; one of them is needed."""

    user: str
    device: str | None = None
    attributes: dict[str, Any] = {}
    subscribe: list[str] = []
    publish: list[str] = []
    expires: float | None = None
    ttl: float | None = None


class Webhook(NamedTuple):
    """``answer``: what a 200 may hold, None for nothing. ``others``: by status."""

    name: str
    where: str  # the setting that says it
    body: type
    answer: type | None
    others: dict[int, str]


_TOLD: Final = {204: "Taken. Anything but 2xx: told again."}
WEBHOOKS: Final = (
    Webhook(
        "call",
        "webhook_url",
        CallPosted,
        Result,
        {
            204: "The result is null.",
            404: "There is no such call.",
            422: "Refused: detail, and data if there is any, go to the caller.",
        },
    ),
    Webhook("messages", "webhook_url", MessagesPosted, None, _TOLD),
    Webhook("events", "webhook_url", EventsPosted, None, _TOLD),
    Webhook("auth", "auth_url", AuthPosted, AuthAnswer, {401: "Refused.", 403: "Refused."}),
)

_HEADERS: list[Schema] = [
    {
        "name": name,
        "in": "header",
        "required": True,
        "description": help_,
        "schema": {"type": "string"},
    }
    for name, help_ in (
        ("webhook-id", "The same whenever the same is posted again."),
        ("webhook-timestamp", "Unix seconds of this attempt."),
        ("webhook-signature", "v1, and base64 of HMAC-SHA256(secret, id.timestamp.body)."),
    )
]


def types() -> list[Any]:
    """All that the description needs schemas of."""
    return [each for hook in WEBHOOKS for each in (hook.body, hook.answer) if each is not None]


def webhooks(by_type: dict[int, Schema]) -> dict[str, Any]:
    """The member ``webhooks`` of an OpenAPI 3.1 document."""
    return {hook.name: {"post": _operation(hook, by_type)} for hook in WEBHOOKS}


def _operation(hook: Webhook, by_type: dict[int, Schema]) -> dict[str, Any]:
    answers: dict[str, Any] = {
        str(status): {"description": help_} for status, help_ in hook.others.items()
    }
    if hook.answer is not None:
        content = {"application/json": {"schema": by_type[id(hook.answer)]}}
        answers["200"] = {"description": "The answer.", "content": content}
    content = {"application/json": {"schema": by_type[id(hook.body)]}}
    return {
        "operationId": f"webhook_{hook.name}",
        "tags": ["Webhooks"],
        "summary": inspect.cleandoc(hook.body.__doc__ or ""),
        "description": f"Posted to the setting {hook.where}.",
        "security": [],
        "parameters": _HEADERS,
        "requestBody": {"required": True, "content": content},
        "responses": answers,
    }
