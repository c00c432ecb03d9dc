"""The Python client, on Trio: publish with retries, pull, and follow by hint and pull."""

from pushd.client.answers import (
    ChannelInfo,
    ChannelItem,
    Fading,
    Message,
    Published,
    Pulled,
    SlowDevice,
)
from pushd.client.client import Client
from pushd.client.events import (
    Dropped,
    Event,
    Expiring,
    Placed,
    ReadElsewhere,
    Received,
    Reset,
    Status,
)
from pushd.client.follow import Follow
from pushd.client.options import FollowOptions
from pushd.client.paging import Pages
from pushd.client.people import (
    DeviceState,
    Erased,
    GroupInfo,
    GroupItem,
    GroupOfUser,
    Inbox,
    InboxItem,
    Member,
    MembersChanged,
    NodeItem,
    Presence,
    Present,
    Revoked,
    SessionItem,
    UserChannel,
    UserInfo,
    UserItem,
)
from pushd.client.problems import BadAnswer, Kicked, NoToken, Unreachable
from pushd.client.publishing import LineResult, LineResults, Results
from pushd.client.retrying import RetryPolicy
from pushd.client.stores import CursorStore, FileCursors, MemoryCursors

__all__ = [
    "BadAnswer",
    "ChannelInfo",
    "ChannelItem",
    "Client",
    "CursorStore",
    "DeviceState",
    "Dropped",
    "Erased",
    "Event",
    "Expiring",
    "Fading",
    "FileCursors",
    "Follow",
    "FollowOptions",
    "GroupInfo",
    "GroupItem",
    "GroupOfUser",
    "Inbox",
    "InboxItem",
    "Kicked",
    "LineResult",
    "LineResults",
    "Member",
    "MembersChanged",
    "MemoryCursors",
    "Message",
    "NoToken",
    "NodeItem",
    "Pages",
    "Placed",
    "Presence",
    "Present",
    "Published",
    "Pulled",
    "ReadElsewhere",
    "Received",
    "Reset",
    "Results",
    "RetryPolicy",
    "Revoked",
    "SessionItem",
    "SlowDevice",
    "Status",
    "Unreachable",
    "UserChannel",
    "UserInfo",
    "UserItem",
]
