"""Channels: which there are, and what is in them."""

from __future__ import annotations

import heapq
from functools import partial

import trio

from pushd.answers import answer_of
from pushd.core.permissions import ADMIN, READ
from pushd.core.positions import Cursor
from pushd.errors import NotFound
from pushd.hub import Hub
from pushd.log import Head, Slowest
from pushd.web.call import Call, page, searching
from pushd.web.operation import Answer, Body, Operation
from pushd.web.params import CHANNEL, LIMIT, NEXT, OF_SEQ, PREFIX, SEQ
from pushd.web.shapes.channels import (
    Channel,
    ChannelItem,
    ChannelPage,
    Receipt,
    ReceiptPage,
    Rules,
    SlowDevice,
    TrimBody,
)


async def list_channels(call: Call) -> ChannelPage:
    heads, args = call.hub.log.heads, call.args
    limit = args["limit"]
    async with searching:
        names = await trio.to_thread.run_sync(_search, call, list(heads), limit + 1)
    found, following = page(names, limit)
    items = [_item(heads[name]) for name in found if name in heads]
    return ChannelPage(items, following)


def _search(call: Call, names: list[str], count: int) -> list[str]:
    prefix, after = call.args["prefix"], call.args["next"]
    wanted = (
        name for name in names if name > after and name.startswith(prefix) and call.covers(name)
    )
    return heapq.nsmallest(count, wanted)


def _item(head: Head) -> ChannelItem:
    return ChannelItem(head.channel, head.epoch, head.first, head.seq)


def existing(call: Call) -> Head:
    """The channel of the path. Raises Forbidden, NotFound."""
    channel = call.args["channel"]
    call.check_channel(channel)
    head = call.hub.log.heads.get(channel)
    if head is None:
        raise NotFound(f"Nothing was ever published to {channel!r}, or it was deleted.")
    return head


async def get_channel(call: Call) -> Channel:
    head = existing(call)
    slowest = await answer_of(partial(call.hub.log.find_slowest, head))
    now = existing(call)
    return describe(call.hub, now, slowest if now is head else None)


def describe(hub: Hub, head: Head, slowest: Slowest | None) -> Channel:
    rules = hub.namespaces.of(head.channel)
    topic = hub.fanout.topics.get(head.channel)
    kept = hub.namespaces.retention(head.channel)
    return Channel(
        channel=head.channel,
        epoch=head.epoch,
        first=head.first,
        head=head.seq,
        messages=head.seq - head.first + 1,
        bytes=head.bytes,
        at=head.at,
        followers=0 if topic is None else topic.followers,
        slowest=None if slowest is None else _slow(head, slowest),
        held=hub.log.held(head),
        rules=Rules(
            rules.public,
            rules.ephemeral,
            rules.publish,
            *kept[:3],
            *((None, None, None) if kept.hold is None else kept.hold),
        ),
    )


def _slow(head: Head, slowest: Slowest) -> SlowDevice:
    user, device, seq, at = slowest
    # Its mark may have risen since the head was looked at.
    seq = min(seq, head.seq)
    gone = max(0, head.first - 1 - seq)
    return SlowDevice(user, device, str(Cursor(head.epoch, seq)), head.seq - seq, gone, at)


async def trim(call: Call) -> ChannelItem:
    channel = existing(call).channel
    at = await answer_of(partial(call.hub.log.trim, channel, call.body.before))
    return ChannelItem(channel, at.epoch, at.first, at.seq)


async def delete(call: Call) -> None:
    await answer_of(partial(call.hub.log.delete, existing(call).channel))


async def redact(call: Call) -> None:
    await answer_of(partial(call.hub.log.redact, existing(call).channel, call.args["seq"]))


async def receipts(call: Call) -> ReceiptPage:
    """Who has a message, and who has read it."""
    head, args = existing(call), call.args
    seq = args["seq"] or head.seq
    if seq > head.seq:
        raise NotFound(f"Channel {head.channel!r} has no message {seq} yet.")
    epoch = head.epoch
    ask = partial(call.hub.log.read_receipts, head.channel, seq, args["limit"], args["next"])
    found = await answer_of(ask)
    items = [
        Receipt(
            user,
            {device: str(cursor) for device, cursor in sorted(marks.delivered.items())},
            None if marks.read is None else str(marks.read),
        )
        for user, marks in found.users.items()
    ]
    return ReceiptPage(head.channel, epoch, seq, items, found.next)


OPERATIONS = (
    Operation(
        name="list_channels",
        method="GET",
        path="/v1/channels",
        tag="Channels",
        summary="Channels by name",
        scopes=(READ, ADMIN),
        params=(PREFIX, LIMIT, NEXT),
        answers=(Answer(200, "A page of channels by name.", ChannelPage),),
        handler=list_channels,
    ),
    Operation(
        name="get_channel",
        method="GET",
        path="/v1/channels/{channel}",
        tag="Channels",
        summary="One channel: how much is in it, and its rules",
        scopes=(READ, ADMIN),
        params=(CHANNEL,),
        answers=(Answer(200, "The channel.", Channel),),
        refusals=(404,),
        handler=get_channel,
    ),
    Operation(
        name="delete_channel",
        method="DELETE",
        path="/v1/channels/{channel}",
        tag="Channels",
        summary="Delete a channel with all its messages",
        help="The next publish begins a new life of it: a later epoch, seq from 1. Clients that "
        "hold a cursor get epoch_changed. Message ids stay known for their 24 hours.",
        scopes=(ADMIN,),
        params=(CHANNEL,),
        answers=(Answer(204, "It is gone."),),
        refusals=(404, 507),
        handler=delete,
    ),
    Operation(
        name="trim_channel",
        method="POST",
        path="/v1/channels/{channel}/trim",
        tag="Channels",
        summary="Forget the messages before a seq",
        help="Clients that have not pulled them get expired. What is gone already stays gone: "
        "the answer says what is kept.",
        scopes=(ADMIN,),
        params=(CHANNEL,),
        body=Body(TrimBody, '{"before":42}'),
        answers=(Answer(200, "Where the channel is now.", ChannelItem),),
        refusals=(404, 507),
        handler=trim,
    ),
    Operation(
        name="redact_message",
        method="DELETE",
        path="/v1/channels/{channel}/messages/{seq}",
        tag="Channels",
        summary="Take the content out of a message",
        help="Its data becomes null, its type redacted; seq, id, sender and time stay. Clients "
        "that have pulled it keep what they have.",
        scopes=(ADMIN,),
        params=(CHANNEL, SEQ),
        answers=(Answer(204, "The content is gone."),),
        refusals=(404, 507),
        handler=redact,
    ),
    Operation(
        name="receipts",
        method="GET",
        path="/v1/channels/{channel}/receipts",
        tag="Channels",
        summary="Who has a message, and who has read it",
        help="Users of whom nothing is recorded are not listed. A page may hold fewer items than "
        "its limit, or none, and still have a next.",
        scopes=(READ, ADMIN),
        params=(CHANNEL, OF_SEQ, LIMIT, NEXT),
        answers=(Answer(200, "A page of users by name.", ReceiptPage),),
        refusals=(404,),
        handler=receipts,
    ),
)
