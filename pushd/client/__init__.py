"""The Python client, on Trio: publish with retries, pull, and follow by hint and pull."""

from pushd.client.answers import ChannelInfo, ChannelItem, Message, Published, Pulled, SlowDevice
from pushd.client.client import Client
from pushd.client.events import Dropped, Event, Placed, ReadElsewhere, Received, Reset, Status
from pushd.client.follow import Follow
from pushd.client.options import FollowOptions
from pushd.client.problems import BadAnswer, Kicked, NoToken, Unreachable
from pushd.client.publishing import LineResult, LineResults, RetryPolicy
from pushd.client.stores import CursorStore, FileCursors, MemoryCursors

__all__ = [
    "BadAnswer",
    "ChannelInfo",
    "ChannelItem",
    "Client",
    "CursorStore",
    "Dropped",
    "Event",
    "FileCursors",
    "Follow",
    "FollowOptions",
    "Kicked",
    "LineResult",
    "LineResults",
    "MemoryCursors",
    "Message",
    "NoToken",
    "Placed",
    "Published",
    "Pulled",
    "ReadElsewhere",
    "Received",
    "Reset",
    "RetryPolicy",
    "SlowDevice",
    "Status",
    "Unreachable",
]
