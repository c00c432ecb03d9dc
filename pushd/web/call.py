"""One request to an operation: its caller, its parameters, its body; all checked before use."""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

import msgspec
import trio
from quart import request

from pushd.core.names import Kind, kind_of
from pushd.core.permissions import ADMIN, Identity, matches
from pushd.errors import BadRequest, Forbidden
from pushd.front.bodies import decode_body
from pushd.front.caller import bearer
from pushd.front.origins import check_ambient
from pushd.front.query import decode_part, parse_query
from pushd.hook import Unasked
from pushd.hub import Hub
from pushd.web.operation import Operation

T = TypeVar("T")

LOOPBACK = ("127.0.0.1", "::1")
# Held while a million names are looked through, in a thread so that the loop goes on: twenty
# threads at once would leave it the twentieth part of the interpreter.
searching: Final = trio.Lock()


class Call:
    """What a handler gets. ``args``: by parameter name, parsed; those left out by their default."""

    __slots__ = ("args", "body", "hub", "identity")

    def __init__(self, hub: Hub, identity: Identity, args: dict[str, Any], body: Any) -> None:
        self.hub = hub
        self.identity = identity
        self.args = args
        self.body = body

    def covers(self, channel: str) -> bool:
        """Whether the key may know of this channel."""
        if kind_of(channel) is Kind.INTERNAL:
            return ADMIN in self.identity.scopes and not self.identity.patterns
        patterns = self.identity.patterns
        return not patterns or any(matches(pattern, channel) for pattern in patterns)

    def covers_user(self, user: str | None) -> bool:
        """A limited key knows the users whose inbox it covers; services are of no user."""
        if user is None:
            return not self.identity.patterns
        return self.covers(f"user:{user}")

    def check_channel(self, channel: str) -> None:
        """Raises Forbidden, whether there is such a channel or not."""
        if self.covers(channel):
            return
        if kind_of(channel) is Kind.INTERNAL:
            raise Forbidden(f"Channel {channel!r} needs a key with scope admin and no patterns.")
        raise Forbidden(f"This key's patterns do not cover channel {channel!r}.")

    def check_user(self, user: str) -> None:
        """Raises Forbidden, whether there is such a user or not."""
        if not self.covers_user(user):
            raise Forbidden(f"This key's patterns do not cover the inbox of user {user!r}.")


async def parse_call(hub: Hub, operation: Operation) -> Call:
    """Raises PushdError: who asks comes first, so that strangers learn nothing of the rest."""
    identity = await identify(hub, operation)
    args = _path_args(operation, hub.settings.path_prefix) | _query_args(operation)
    raw = await request.get_data(cache=True, as_text=False, parse_form_data=False)
    if operation.body is None:
        if raw:
            raise BadRequest(f"{operation.method} {operation.path} takes no body.")
        return Call(hub, identity, args, None)
    return Call(hub, identity, args, decode_body(msgspec.json.Decoder(operation.body.type), raw))


async def identify(hub: Hub, operation: Operation) -> Identity:
    """A caller who may do this. Raises Unauthorized, Forbidden, and NotReady or RateLimited when
    the application would have to tell."""
    headers: dict[bytes, bytes] = dict(request.scope["headers"])
    header = headers.get(b"authorization")
    if header is None:
        check_ambient(hub, request.method.encode(), headers)
    credential = None if header is None else bearer(header)
    try:
        identity = hub.authenticator.identify(
            credential, time.time(), headers, request.remote_addr or ""
        )
    except Unasked as unasked:
        identity = await unasked.question.answered()
    if not identity.scopes.intersection(operation.scopes):
        raise Forbidden(f"This needs a key with scope {' or '.join(operation.scopes)}.")
    if operation.whole and identity.patterns:
        raise Forbidden("This reaches beyond any channel: it needs a key without patterns.")
    return identity


def is_local() -> bool:
    """Asked from this machine, and not by a proxy on it that speaks for somebody else."""
    forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return request.remote_addr in LOOPBACK and not forwarded


def _path_args(operation: Operation, prefix: str) -> dict[str, Any]:
    """From the raw path: the framework mends what is not UTF-8, and loses what was a slash."""
    raw: bytes = request.scope["raw_path"]
    template = (prefix + operation.path).split("/")
    parts = raw.split(b"/")
    if len(parts) != len(template):
        raise BadRequest("A name in the path may not contain '/'.")
    given = {
        name[1:-1]: part for name, part in zip(template, parts, strict=True) if name[:1] == "{"
    }
    return {
        param.name: param.parse(decode_part(given[param.name]))
        for param in operation.params
        if param.name in operation.path_names
    }


def _query_args(operation: Operation) -> dict[str, Any]:
    given = parse_query(request.query_string)
    known = {param.name: param for param in operation.queries}
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        takes = ", ".join(known) or "none"
        raise BadRequest(f"There is no parameter {unknown[0]!r} here; there is: {takes}.")
    args = {}
    for name, param in known.items():
        if name in given:
            args[name] = param.parse(given[name])
        elif param.required:
            raise BadRequest(f"The parameter {name!r} is missing.")
        else:
            args[name] = param.default
    return args


def page(names: list[str], limit: int) -> tuple[list[str], str | None]:
    """Of ``limit + 1`` names that were looked for: those of this page, and its ``next``."""
    return names[:limit], names[limit - 1] if len(names) > limit else None
