"""What was seen by whom, and whether that is what had to be seen.

Knows nothing of the server and its client: it compares (channel, epoch, seq, id) as they came over
the wire with what was published.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tests.support.chat import Chat, Sent

Entry = tuple[str, int, str]  # (epoch, seq, id)
KEPT = 100  # answers, each at most a megabyte


class Pulled(msgspec.Struct):
    """A message in an answer."""

    seq: int
    id: str
    type: str
    at: int
    data: msgspec.Raw
    sender: str | None = None


class Page(msgspec.Struct):
    """One channel's part of an answer."""

    channel: str
    epoch: str
    first: int
    head: int
    next: str
    more: bool
    messages: list[Pulled]
    entries: list[Entry] = []  # not of the wire: made of the messages, for the histories


class Seen(NamedTuple):
    """What a number names: the same for everybody, for ever."""

    id: str
    type: str
    at: int
    sender: str | None
    data: bytes


decode_page = msgspec.json.Decoder(Page).decode


class Ledger:
    """Everything anybody saw in one run. AssertionError at the first contradiction."""

    def __init__(self) -> None:
        self.lives: dict[tuple[str, str], dict[int, Seen]] = {}  # (channel, epoch) -> seq -> seen
        self.acks: dict[tuple[str, str], tuple[str, int]] = {}  # (channel, id) -> (epoch, seq)
        self.heads: dict[tuple[str, str], int] = {}  # the highest seq that was ever told
        self.duplicates = 0  # acks that said so
        self._read: dict[bytes, Page] = {}

    def read(self, body: bytes) -> Page:
        """An answer to somebody's pull. Many get the same bytes: one look at them is enough."""
        page = self._read.get(body)
        if page is None:
            page = decode_page(body)
            check_page(page)
            self._see(page)
            page.entries = [(page.epoch, message.seq, message.id) for message in page.messages]
            if len(self._read) >= KEPT:
                self._read.clear()
            self._read[body] = page
        return page

    def _see(self, page: Page) -> None:
        life = self.lives.setdefault((page.channel, page.epoch), {}) if page.messages else {}
        for message in page.messages:
            seq = message.seq
            seen = Seen(message.id, message.type, message.at, message.sender, bytes(message.data))
            before = life.setdefault(seq, seen)
            assert before == seen, f"{page.channel} {page.epoch}.{seq}: {before}, then {seen}"
        self.told(page.channel, page.epoch, page.head)

    def told(self, channel: str, epoch: str, seq: int) -> None:
        """A head, from a hint or an answer: by then it must have been on disk."""
        if seq > self.heads.get((channel, epoch), 0):
            self.heads[channel, epoch] = seq

    def ack(self, result: dict[str, Any], sent: Sent) -> None:
        """A publish was answered: a retry must get the number that the first try got."""
        assert (result.get("channel"), result.get("id")) == (sent.channel, sent.id), result
        number = (result["epoch"], result["seq"])
        before = self.acks.setdefault((sent.channel, sent.id), number)
        assert before == number, f"{sent.channel} {sent.id}: acked as {before}, then {number}"
        self.duplicates += result.get("duplicate", False)
        self.told(sent.channel, *number)

    # -- at the end --------------------------------------------------------------------------------

    def check(self, chat: Chat) -> None:
        """Every number seen or acked names what the chat has at that place; times never fall."""
        for (channel, epoch), life in self.lives.items():
            expected = chat.expected(channel)
            at = 0
            for seq in sorted(life):
                seen = life[seq]
                assert seq <= len(expected), f"{channel} {epoch}.{seq} is one too many: {seen}"
                sent = expected[seq - 1]
                wanted = (sent.id, "message", sent.sender, sent.data)
                assert (seen.id, seen.type, seen.sender, seen.data) == wanted, (channel, epoch, seq)
                assert seen.at >= at, f"{channel} {epoch}.{seq}: the time fell"
                at = seen.at
        for (channel, id_), (epoch, seq) in self.acks.items():
            life = self.lives.get((channel, epoch), {})
            assert seq in life, f"{channel} {id_}: acked as {epoch}.{seq}, then gone"
            assert life[seq].id == id_, f"{channel} {epoch}.{seq}: acked {id_}, is {life[seq].id}"

    def check_lives(self) -> None:
        """Nothing was deleted or restored, so no channel may have begun a second life."""
        channels = [channel for channel, _ in self.lives]
        assert len(channels) == len(set(channels)), "a channel had two epochs"


class History:
    """What one client processed, in the order in which it did.

    ``repeats``: its cursor may be older than what it processed (a server that was killed has
    recorded none of the last second's); then it skips what it knows, as the protocol says.
    """

    def __init__(self, user: str, *, repeats: bool = False) -> None:
        self.user = user
        self.seen: dict[str, list[Entry]] = {}  # by channel
        self._repeats = repeats

    def process(self, page: Page, after: str | None) -> None:
        """An answer to a pull after the cursor ``after`` (None: the server knows it)."""
        if after is not None:
            first = page.entries[0][1] if page.entries else int(page.next.rpartition(".")[2]) + 1
            assert first == int(after.rpartition(".")[2]) + 1, (page.channel, after, page.next)
        if not page.entries:
            return
        entries = self.seen.setdefault(page.channel, [])
        if self._repeats and entries:
            entries += [entry for entry in page.entries if entry[1] > entries[-1][1]]
        else:
            entries += page.entries

    def count(self, channel: str) -> int:
        return len(self.seen.get(channel, ()))

    def check(self, chat: Chat, channels: list[str]) -> None:
        """Of these channels everything, in order, once; of others nothing."""
        extra = set(self.seen) - set(channels)
        assert not extra, f"{self.user} saw channels that are not for it: {extra}"
        for channel in channels:
            got = self.seen.get(channel, [])
            epoch = got[0][0] if got else ""
            wanted = [(epoch, at, sent.id) for at, sent in enumerate(chat.expected(channel), 1)]
            assert got == wanted, f"{self.user} {channel}: {_difference(got, wanted)}"


def check_page(page: Page) -> None:
    """The answer by itself: contiguous, and ``next``, ``more``, ``head`` and ``first`` fit."""
    seqs = [message.seq for message in page.messages]
    assert not seqs or seqs == list(range(seqs[0], seqs[0] + len(seqs))), (page.channel, seqs)
    last = int(page.next.rpartition(".")[2])
    assert page.next == f"{page.epoch}.{last}"
    assert not seqs or last == seqs[-1]
    assert page.more == (last < page.head)
    assert last <= page.head
    assert page.first == 1


def _difference(got: list[Entry], wanted: list[Entry]) -> str:
    for at, pair in enumerate(zip(got, wanted, strict=False)):
        if pair[0] != pair[1]:
            return f"entry {at} is {pair[0]}, should be {pair[1]}"
    return f"{len(got)} entries, should be {len(wanted)}"
