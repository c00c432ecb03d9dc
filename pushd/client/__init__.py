"""The Python client, on Trio: publish with retries, pull, and follow by hint and pull."""

from pushd.client.answers import ChannelItem, Message, Published, Pulled
from pushd.client.client import Client
from pushd.client.events import Dropped, Event, Placed, Received, Reset, Status
from pushd.client.follow import Follow
from pushd.client.problems import BadAnswer, Kicked, Unreachable
from pushd.client.publishing import LineResult, LineResults, RetryPolicy
from pushd.client.pulling import FollowOptions

__all__ = [
    "BadAnswer",
    "ChannelItem",
    "Client",
    "Dropped",
    "Event",
    "Follow",
    "FollowOptions",
    "Kicked",
    "LineResult",
    "LineResults",
    "Message",
    "Placed",
    "Published",
    "Pulled",
    "Received",
    "Reset",
    "RetryPolicy",
    "Status",
    "Unreachable",
]
