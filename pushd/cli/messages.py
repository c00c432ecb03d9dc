"""Messages as lines: for people without what could move their cursor, for programs as JSON."""

from __future__ import annotations

import sys
import unicodedata
from datetime import datetime
from typing import Any

import msgspec

from pushd.cli.terminal import styled
from pushd.client import Message
from pushd.core.messages import DEFAULT_TYPE

# Joiners of scripts and emoji: invisible, but they belong to the text.
_JOINERS = "\u200c\u200d"


def visible(text: str) -> str:
    """Control and format characters as escapes: a message must not take over the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        or character in _JOINERS
        or unicodedata.category(character) == "Zs"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def line_for_people(channel: str, message: Message) -> str:
    """``08:13:19 news[42] alice: hello``; the text of ``{"text":…}`` by itself."""
    at = datetime.fromtimestamp(message.at / 1000).strftime("%H:%M:%S")
    place = styled(f"{visible(channel)}[{message.seq}]", sys.stdout, fg="cyan")
    kind = "" if message.type == DEFAULT_TYPE else f" ({visible(message.type)})"
    sender = "" if message.sender is None else f" {visible(message.sender)}"
    return f"{at} {place}{sender}{kind}: {visible(_text_of(message.data))}"


def line_for_programs(channel: str, cursor: str, message: Message) -> str:
    """One JSON object: channel, cursor, and the message's own members."""
    members = {"channel": channel, "cursor": cursor, **msgspec.to_builtins(message)}
    return msgspec.json.encode(members).decode()


def _text_of(data: Any) -> str:
    if isinstance(data, str):
        return data
    if isinstance(data, dict) and isinstance(data.get("text"), str):
        return str(data["text"])
    return msgspec.json.encode(data).decode()
