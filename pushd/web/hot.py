"""The hot routes, declared for the description only: front/routes.py serves them.

A test holds that both name the same routes, and that real answers have these forms.
"""

from __future__ import annotations

from pushd.core.frames import Message
from pushd.core.permissions import PUBLISH, READ
from pushd.core.positions import MAX_SEQ
from pushd.front.bodies import DEFAULT_LIMIT, AckBody, HttpCall, MultiBody, ReadBody
from pushd.front.inbox import MAX_LIMIT, MAX_NEXT
from pushd.publish import Fanned
from pushd.web.operation import NDJSON, Answer, Body, Operation
from pushd.web.params import CHANNEL, DEVICE, query, text, whole
from pushd.web.shapes.hot import (
    CallResult,
    Followers,
    Health,
    Inbox,
    MultiPull,
    Published,
    Pull,
    Stored,
)

_NUMBER = {"type": "number", "minimum": 0}
TEXT = "text/plain"
EVENTS = "text/event-stream"

_AFTER = query(
    "after", text(32), "The cursor: 0 from the start, head from now on, or a next.", example="0"
)
_WAIT = query("wait", _NUMBER, "Seconds to wait for something newer.", example="25")
_LIMIT = query("limit", whole(1, 1000, DEFAULT_LIMIT), "Messages of one answer.")
_OWN = query("limit", whole(1, MAX_LIMIT, DEFAULT_LIMIT), "Channels of one page.")
_FOLLOWERS = query("limit", whole(1, MAX_LIMIT, DEFAULT_LIMIT), "Users of one page.")
_NEXT = query("next", text(MAX_NEXT, 0), "The next of the page before.")
_ATLEAST = query("atleast", whole(0, MAX_SEQ), "The seq of the hint that caused the pull.")
_BEFORE = query("before", whole(1, MAX_SEQ), "History: the messages before this seq.")
_LAST = query("last", whole(1, 1000), "History: the newest so many.")
_CHANNELS = query(
    "channels", text(16384, 0), "Channels to follow, with commas between them.", example="news"
)
_TOKEN = query("token", text(8192), "The client's token, where no header can be set.")
_REPLACES = query("replaces", text(64), "The session of this device that ends with this one.")

MESSAGES = "/v1/channels/{channel}/messages"

OPERATIONS = (
    Operation(
        name="publish",
        method="POST",
        path=MESSAGES,
        tag="Publish and pull",
        summary="Publish one message",
        help="Answered once it is on disk. With an id, sending it again is safe: the answer is "
        "then 200 with duplicate true. Send application/json: a text/plain or form body is "
        "published as a string.",
        who="anyone",
        scopes=(PUBLISH,),
        params=(CHANNEL,),
        body=Body(Message, '{"data":{"text":"hello"},"id":"order-17"}', ("application/json", TEXT)),
        answers=(
            Answer(201, "It is on disk.", Stored),
            Answer(200, "An earlier attempt stored it.", Stored),
        ),
        refusals=(409, 429, 507),
        hot=True,
    ),
    Operation(
        name="publish_many",
        method="POST",
        path="/v1/publish",
        tag="Publish and pull",
        summary="Publish to many, all or nothing; or line by line",
        help=f"With {NDJSON} each line is a message with its channel, and each line of the answer "
        "says what became of it.",
        who="anyone",
        scopes=(PUBLISH,),
        body=Body(Fanned, '{"to":{"users":["alice"]},"message":{"data":1}}'),
        answers=(Answer(200, "All are on disk.", Published),),
        refusals=(409, 429, 507),
        hot=True,
    ),
    Operation(
        name="pull",
        method="GET",
        path=MESSAGES,
        tag="Publish and pull",
        summary="Pull what comes after a cursor, or wait for it",
        help="Exactly the retained messages after the cursor, in order; never a silent hole. With "
        "before or last: history backwards, which records nothing.",
        who="anyone",
        scopes=(READ,),
        params=(CHANNEL, _AFTER, _LIMIT, _WAIT, _ATLEAST, DEVICE, _BEFORE, _LAST),
        answers=(Answer(200, "Messages, or none when the time is up.", Pull),),
        refusals=(410,),
        hot=True,
    ),
    Operation(
        name="pull_many",
        method="POST",
        path="/v1/pull",
        tag="Publish and pull",
        summary="Pull several channels, or wait for any of them",
        who="anyone",
        scopes=(READ,),
        body=Body(MultiBody, '{"cursors":{"news":"0"},"wait":25}'),
        answers=(Answer(200, "Each channel's pull.", MultiPull),),
        hot=True,
    ),
    Operation(
        name="ack",
        method="POST",
        path="/v1/ack",
        tag="Publish and pull",
        summary="Record cursors as delivered",
        who="anyone",
        scopes=(READ,),
        body=Body(AckBody, '{"cursors":{"news":"0"},"device":"phone"}'),
        answers=(Answer(204, "They are recorded."),),
        refusals=(410,),
        hot=True,
    ),
    Operation(
        name="read",
        method="POST",
        path="/v1/channels/{channel}/read",
        tag="Publish and pull",
        summary="Set the user's read mark",
        who="anyone",
        scopes=(READ,),
        params=(CHANNEL,),
        body=Body(ReadBody, '{"cursor":"0"}'),
        answers=(Answer(204, "It is recorded, and the user's other devices are told."),),
        refusals=(410,),
        hot=True,
    ),
    Operation(
        name="presence",
        method="GET",
        path="/v1/channels/{channel}/presence",
        tag="Publish and pull",
        summary="Who follows a channel",
        help="For whoever may read it, where its namespace has presence = true. Load all pages, "
        "then follow the channel that presence names from the cursor of the first page.",
        who="anyone",
        scopes=(READ,),
        params=(CHANNEL, _FOLLOWERS, _NEXT),
        answers=(Answer(200, "A page of users by name.", Followers),),
        refusals=(404,),
        hot=True,
    ),
    Operation(
        name="inbox",
        method="GET",
        path="/v1/inbox",
        tag="Publish and pull",
        summary="The user's own channels, and what is unread in each",
        help="For users' tokens: all, the user's inboxes and groups, by name. unread, beside the "
        "items, is the sum of all of them; it is null on all pages but the first.",
        who="user",
        params=(DEVICE, _OWN, _NEXT),
        answers=(Answer(200, "A page of channels by name.", Inbox),),
        hot=True,
    ),
    Operation(
        name="call",
        method="POST",
        path="/v1/call",
        tag="Publish and pull",
        summary="Call the application",
        help="Answered by a handler of the setting handlers, else by the webhook.",
        who="user",
        body=Body(HttpCall, '{"name":"hello","data":1}'),
        answers=(Answer(200, "What the application answers.", CallResult),),
        refusals=(404, 422, 429, 502, 504),
        hot=True,
    ),
    Operation(
        name="events",
        method="GET",
        path="/v1/events",
        tag="Hints",
        summary="Hints as server-sent events",
        help="The same JSON as the frames in /asyncapi.json. An EventSource resumes by itself.",
        who="anyone",
        params=(_CHANNELS, DEVICE, _TOKEN, _REPLACES),
        answers=(Answer(200, "A stream of events.", str, EVENTS),),
        refusals=(409,),
        hot=True,
    ),
    Operation(
        name="ws",
        method="GET",
        path="/v1/ws",
        tag="Hints",
        summary="Hints over a WebSocket",
        help="An upgrade (RFC 6455); /asyncapi.json describes the frames. Refused tokens are told "
        "after the upgrade (4001).",
        who="anyone",
        params=(_CHANNELS, DEVICE, _TOKEN),
        answers=(Answer(101, "The WebSocket."),),
        refusals=(426,),
        hot=True,
    ),
    Operation(
        name="healthz",
        method="GET",
        path="/healthz",
        tag="Health",
        summary="Whether the process turns",
        who="open",
        answers=(Answer(200, "It does.", Health),),
        hot=True,
    ),
    Operation(
        name="readyz",
        method="GET",
        path="/readyz",
        tag="Health",
        summary="Whether it serves",
        who="open",
        answers=(Answer(200, "It does.", Health),),
        hot=True,
    ),
)
