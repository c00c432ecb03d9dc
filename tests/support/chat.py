"""The chat that is replayed: 40,000 real messages, or as many made up where those are missing."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.support.server import ROOT

CHANNEL = "#ubuntu"
LINES, USERS, ADDRESSED = 40_000, 3_597, 16_035
_DEFAULT = ROOT.parent / "shared" / "data" / "ubuntu-irc.ndjson"


class ChatLine(msgspec.Struct, omit_defaults=True):
    day: str
    minute: int
    user: str
    text: str
    to: str | None = None


class Sent(NamedTuple):
    """One message as it is published: what whoever pulls it has to get back."""

    channel: str
    id: str
    sender: str
    data: bytes

    def line(self) -> bytes:
        """As a line of an NDJSON publish."""
        head = {"channel": self.channel, "id": self.id, "sender": self.sender}
        return msgspec.json.encode({**head, "data": msgspec.Raw(self.data)})


@dataclass(slots=True)
class Chat:
    """``truth``: by channel, exactly the messages it has to end with, in their order."""

    users: list[str] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    truth: dict[str, list[Sent]] = field(default_factory=dict)

    def expected(self, channel: str) -> list[Sent]:
        return self.truth.get(channel, [])


def user_id(name: str) -> str:
    """A few names of the chat have spaces in them; user ids must not."""
    return name.replace(" ", "_")


@cache
def load_chat() -> Chat:
    """Each line to the channel, and again to the inbox of whom it addresses."""
    chat = Chat()
    users: dict[str, None] = {}
    for number, line in enumerate(load_lines()):
        sender = user_id(line.user)
        users[sender] = None
        data = msgspec.json.encode({"day": line.day, "minute": line.minute, "text": line.text})
        channels = [CHANNEL]
        if line.to is not None:
            users[user_id(line.to)] = None
            channels.append(f"user:{user_id(line.to)}")
        for channel in channels:
            message = Sent(channel, f"m{number}", sender, data)
            chat.sent.append(message)
            chat.truth.setdefault(channel, []).append(message)
    chat.users = list(users)
    assert (len(chat.truth[CHANNEL]), len(chat.users)) == (LINES, USERS)
    assert len(chat.sent) == LINES + ADDRESSED
    return chat


def load_lines() -> list[ChatLine]:
    path = chat_file()
    if not path.exists():
        return made_up_lines()
    decode = msgspec.json.Decoder(ChatLine).decode
    return [decode(line) for line in path.read_bytes().splitlines()]


def chat_file() -> Path:
    return Path(os.environ.get("PUSHD_CHAT_DATA") or _DEFAULT)


def chat_file_or_made_up(directory: Path) -> Path:
    """The real chat, or one made up in ``directory`` where that is missing."""
    real = chat_file()
    if real.exists():
        return real
    made_up = directory / "chat.ndjson"
    made_up.write_bytes(b"\n".join([msgspec.json.encode(line) for line in made_up_lines()]))
    return made_up


def made_up_lines(
    count: int = LINES, users: int = USERS, addressed: int = ADDRESSED
) -> list[ChatLine]:
    """The same numbers of lines, users and addressed lines; a few talk much, most little."""
    rng = random.Random(2005)
    names = [f"user{number}" + "_[x] " * (number % 200 == 7) for number in range(users)]
    to_somebody = set(rng.sample(range(count), addressed))
    words = ["kernel", "apt-get", "Überraschung", "日本語", "\\o/", "“quote”", "install"]
    lines = []
    for number in range(count):
        user = names[number] if number < users else _talker(rng, names)
        text = " ".join(rng.choices(words, k=rng.randint(1, 20)))
        to = _talker(rng, names) if number in to_somebody else None
        lines.append(ChatLine("2005-02-06", number // 30, user, text, to))
    return lines


def _talker(rng: random.Random, names: list[str]) -> str:
    return names[int(len(names) * rng.random() ** 3)]
