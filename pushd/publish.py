"""Publishing: check a message once, name its channels, hand it to the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from pushd.access import Access
from pushd.core.frames import Message, Targets, Wait
from pushd.core.jsoncheck import MAX_DEPTH, check_json
from pushd.core.messages import DEFAULT_TYPE, Draft
from pushd.core.names import (
    SESSION_PREFIX,
    check_channel,
    check_user,
    session_id,
)
from pushd.core.namespaces import Namespaces
from pushd.core.permissions import Identity, may_publish
from pushd.errors import BadRequest, Forbidden, NotFound, PushdError, TooLarge
from pushd.limits import Quota
from pushd.log import Append, Entry, Log, Own, Stored
from pushd.session import Session

MAX_ID_BYTES = 128
MAX_TYPE_BYTES = 64

T = TypeVar("T")
Done = Callable[[list[Stored] | PushdError], None]
OnOwn = Callable[[Identity, list[Stored], Session | None], None]
OwnOf = Callable[[Identity, list[str], Session | None], Own | None]


class Line(Message):
    """One line of an NDJSON publish: a message and its channel."""

    channel: str = ""


class Fanned(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/publish``."""

    to: Targets
    message: Message
    wait: Wait | None = None


_messages = msgspec.json.Decoder(Message)
_lines = msgspec.json.Decoder(Line)
_fanned = msgspec.json.Decoder(Fanned)


class Publisher:
    """Turns what publishers send into appends. Limits in bytes and counts."""

    def __init__(
        self,
        log: Log,
        namespaces: Namespaces,
        access: Access,
        max_body: int,
        max_targets: int,
        begun: Quota | None = None,
    ) -> None:
        """``begun``: how many channels a user may begin.

        ``on_own`` hears of a user's messages as soon as they are on disk, before the user does;
        with ``own_of``, the node that stores them is told by the append instead.
        """
        self.on_own: OnOwn = lambda identity, stored, by: None
        self.own_of: OwnOf | None = None
        self._begun = begun
        self._log = log
        self._namespaces = namespaces
        self._access = access
        self._max_body = max_body
        self._max_targets = max_targets

    def parse_message(self, body: bytes) -> Message:
        """A JSON body ``{"data":…, "type"?, "id"?, "sender"?}``. Raises BadRequest."""
        return _decode(_messages, body, 1)

    def parse_fanned(self, body: bytes) -> Fanned:
        return _decode(_fanned, body, 2)

    def parse_line(self, line: bytes) -> Line:
        if len(line) > self._max_body:
            raise TooLarge(f"A line may have {self._max_body} bytes; this one has {len(line)}.")
        return _decode(_lines, line, 1)

    def text_message(self, body: bytes) -> Message:
        """A body that is no JSON: its text is the ``data``."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise BadRequest("The body is not UTF-8 text.") from None
        data = msgspec.json.encode(text)
        check_json(data)
        return Message(data=msgspec.Raw(data))

    def draft(self, identity: Identity, message: Message) -> Draft:
        """What is stored. The sender of a user's message is the user, whatever it says."""
        data = bytes(message.data)
        if len(data) > self._max_body:
            raise TooLarge(f"data may have {self._max_body} bytes; this has {len(data)}.")
        if message.id is not None:
            _check_label("id", message.id, MAX_ID_BYTES)
        if message.type != DEFAULT_TYPE:
            _check_label("type", message.type, MAX_TYPE_BYTES)
        sender = message.sender
        if identity.user is not None:
            if sender is not None and sender != identity.user:
                raise Forbidden(
                    "A user cannot publish as somebody else.",
                    cure="Leave sender out: the server sets it to the user of the token.",
                )
            sender = identity.user
        elif sender is not None:
            check_user(sender)
        return Draft(data, message.type, message.id, sender)

    def channels_of(self, to: Targets) -> list[str]:
        """The channels that the targets name, each once, in the order given."""
        named = list(to.channels)
        named += [f"user:{check_user(user)}" for user in to.users]
        named += [f"group:{group}" for group in to.groups]
        named += [SESSION_PREFIX + session for session in to.sessions]
        if to.all:
            named.append("all")
        if not named:
            raise BadRequest("to names nobody: give channels, users, groups, sessions or all.")
        if len(named) > self._max_targets:
            raise TooLarge(f"{len(named)} targets; at most {self._max_targets} at once.")
        return list(dict.fromkeys(map(check_channel, named)))

    def submit(
        self,
        identity: Identity,
        channels: list[str],
        draft: Draft,
        done: Done,
        by: Session | None = None,
    ) -> None:
        """One transaction for all channels. Raises Forbidden, Overloaded; ``done`` comes later.

        ``by``: the session that publishes, if it is one.
        """
        self._log.submit(self.append(identity, channels, draft, done, by))

    def append(
        self,
        identity: Identity,
        channels: list[str],
        draft: Draft,
        done: Done,
        by: Session | None = None,
    ) -> Append:
        """As ``submit``, for those who hand in several. Raises Forbidden, NotFound, RateLimited."""
        own: Own | None = None
        rules = None if identity.user is None else self._namespaces  # which are about users
        for channel in channels:
            rule = "granted" if rules is None else rules.of(channel).publish
            if not may_publish(identity, channel, rule):
                raise Forbidden(f"You may not publish to channel {channel!r}.")
            if channel.startswith(SESSION_PREFIX):
                self.check_lives(channel)
        if identity.user is not None:
            if self._begun is not None:
                new = [channel for channel in channels if channel not in self._log.heads]
                if new:
                    self._begun.take(identity.user, new)
            if self.own_of is None:
                done = self._own(identity, done, by)
            else:
                own = self.own_of(identity, channels, by)
        entries = [Entry(channel, draft) for channel in channels]
        return Append(entries, identity.publisher, done, own)

    def check_lives(self, channel: str) -> None:
        """Raises NotFound for the channel of a session that is known not to live."""
        if not self._access.may_live(channel):
            raise NotFound(
                f"There is no live session {session_id(channel)!r} of a user.",
                cure="Ask GET /v1/sessions for those that live, or send to the user.",
            )

    def _own(self, identity: Identity, done: Done, by: Session | None) -> Done:
        def stored(result: list[Stored] | PushdError) -> None:
            try:
                if not isinstance(result, PushdError):
                    self.on_own(identity, result, by)
            finally:
                done(result)

        return stored


def _check_label(name: str, value: str, most: int) -> None:
    if not value or len(value.encode()) > most:
        raise BadRequest(f"{name} must have 1 to {most} bytes.")


def _decode(decoder: msgspec.json.Decoder[T], body: bytes, wrapped: int) -> T:
    """``wrapped``: how many levels there are around ``data``."""
    check_json(body, MAX_DEPTH + wrapped)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as cause:
        raise BadRequest(f"The body has another form than expected: {cause}") from None


def stored_json(stored: Stored) -> dict[str, Any]:
    """One result of a publish, as the wire has it."""
    result: dict[str, Any] = {
        "channel": stored.channel,
        "epoch": stored.epoch,
        "seq": stored.seq,
        "id": stored.id,
        "at": stored.at,
    }
    if stored.duplicate:
        result["duplicate"] = True
    return result


def numbered_lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of an NDJSON body with their numbers from 1; blank ones are passed over."""
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            yield number, line
