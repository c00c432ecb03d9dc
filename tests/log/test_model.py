"""Against a model of some lines: whatever is appended, retried, cut, deleted, marked, restarted."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.namespaces import Retention
from pushd.core.positions import Cursor
from pushd.errors import BadRequest, Conflict, NotFound, PushdError
from pushd.log import Append, Entry, Log, Marks, Stored
from pushd.log.retention import UNBOUNDED
from tests.log.invariants import check, check_heads
from tests.log.support import OPTIONS, append, entry, marks, opened, read, swept

CHANNELS = ["a", "b", "c"]
CHANNEL = st.sampled_from(CHANNELS)
# 'c' is kept short by retention as well.
MOST = 2
ENTRIES = st.builds(
    entry,
    CHANNEL,
    st.integers(0, 1),
    id=st.sampled_from([None, None, "x", "y"]),
    type=st.sampled_from(["message", "other"]),
    sender=st.sampled_from([None, "alice"]),
)
APPEND = st.tuples(
    st.just("append"), st.sampled_from(["p", "q"]), st.lists(ENTRIES, min_size=1, max_size=4)
)
CHANGE = st.one_of(
    st.tuples(st.just("trim"), CHANNEL, st.integers(0, 9)),
    st.tuples(st.just("redact"), CHANNEL, st.integers(0, 9)),
    st.tuples(st.just("delete"), CHANNEL),
)
# What of these waits together is stored in as few commits as its order allows.
TOGETHER = st.tuples(
    st.just("together"), st.lists(st.one_of(APPEND, APPEND, CHANGE), min_size=1, max_size=8)
)
MARKS = st.tuples(
    st.just("mark"), CHANNEL, st.integers(0, 6), st.sampled_from([None, "d"]), st.booleans()
)
EXPIRE = st.just(("expire",))
# Whether all is swept before it.
RESTART = st.tuples(st.just("restart"), st.booleans())
STEPS = st.lists(
    st.one_of(TOGETHER, TOGETHER, TOGETHER, MARKS, EXPIRE, RESTART),
    min_size=1,
    max_size=12,
)
REDACTED = entry("", None, type="redacted").draft


@dataclass
class Life:
    number: int
    messages: list[Entry] = field(default_factory=list)
    first: int = 1


@dataclass
class Model:
    """What a log is, said in the simplest way."""

    lives: dict[str, Life] = field(default_factory=dict)
    used: dict[tuple[str, str, str], tuple[int, int, Entry]] = field(default_factory=dict)
    marks: dict[tuple[str, str | None], tuple[int, int]] = field(default_factory=dict)
    born: int = 0

    def append(self, publisher: str, entries: list[Entry]) -> object:
        """Life, seq and duplicate of each entry; or Conflict."""
        digests: dict[tuple[str, str, str], Entry] = {}
        for one in entries:
            key = (one.channel, publisher, one.draft.id or "")
            if one.draft.id is not None:
                known = self.used[key][2] if key in self.used else digests.setdefault(key, one)
                if known != one:
                    return Conflict
        answers = []
        for one in entries:
            key = (one.channel, publisher, one.draft.id or "")
            if one.draft.id is not None and key in self.used:
                number, seq, _ = self.used[key]
                answers.append((number, seq, True))
                continue
            if one.channel not in self.lives:
                self.born += 1
                self.lives[one.channel] = Life(self.born)
            life = self.lives[one.channel]
            life.messages.append(one)
            answers.append((life.number, len(life.messages), False))
            if one.draft.id is not None:
                self.used[key] = life.number, len(life.messages), one
        return answers

    def trim(self, channel: str, before: int) -> object:
        life = self.lives.get(channel)
        if life is None:
            return NotFound
        if before > len(life.messages) + 1:
            return BadRequest
        life.first = max(life.first, before)
        return (life.number, life.first, len(life.messages))

    def redact(self, channel: str, seq: int) -> object:
        life = self.lives.get(channel)
        if life is None or not life.first <= seq <= len(life.messages):
            return NotFound
        old = life.messages[seq - 1]
        draft = replace(REDACTED, id=old.draft.id, sender=old.draft.sender)
        life.messages[seq - 1] = Entry(channel, draft)
        return (life.number, life.first, len(life.messages))

    def delete(self, channel: str) -> object:
        life = self.lives.pop(channel, None)
        return NotFound if life is None else (life.number, life.first, len(life.messages))

    def expire(self) -> None:
        if "c" in self.lives:
            life = self.lives["c"]
            life.first = max(life.first, len(life.messages) + 1 - MOST)

    def mark(self, channel: str, seq: int, device: str | None) -> None:
        life = self.lives.get(channel)
        if life is not None and seq <= len(life.messages):
            key = channel, device
            self.marks[key] = max((life.number, seq), self.marks.get(key, (0, 0)))


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_log_behaves_as_its_model(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(play, Path(directory), steps)


async def play(directory: Path, steps: list[tuple[Any, ...]]) -> None:
    model = Model()
    epochs: list[str] = []
    steps = [*steps, ("restart", True)]
    while steps:
        async with opened(directory) as log:
            player = Player(log, model, epochs)
            await player.compare()
            while steps:
                name, *arguments = steps.pop(0)
                if name == "restart":
                    if arguments == [True]:
                        await swept(log)
                        check_heads(log)
                    break
                await getattr(player, name)(*arguments)
                check(directory)
            await player.compare()
    async with opened(directory) as log:
        await swept(log)
        await Player(log, model, epochs).compare()
    check(directory)


class Player:
    """``epochs``: of every life that ever was, in the order of their birth."""

    def __init__(self, log: Log, model: Model, epochs: list[str]) -> None:
        self.log = log
        self.model = model
        self.epochs = epochs

    async def together(self, steps: list[tuple[Any, ...]]) -> None:
        """All of them at once, so that they fall into few commits."""
        answers: list[Any] = []
        for name, *arguments in steps:
            if name == "append":
                publisher, entries = arguments
                self.log.submit(Append(entries, publisher, answers.append))
            else:
                getattr(self.log, name)(*arguments, answers.append)
        while len(answers) < len(steps):
            await read_something(self.log)
        for (name, *arguments), answer in zip(steps, answers, strict=True):
            expected = getattr(self.model, name)(*arguments)
            if isinstance(answer, PushdError):
                assert type(answer) is expected
            elif name == "append":
                assert isinstance(expected, list)
                self.learn(answer)
                assert [(one.epoch, one.seq, one.duplicate) for one in answer] == [
                    (self.epochs[number - 1], seq, duplicate) for number, seq, duplicate in expected
                ]
            else:
                number, first, head = expected
                assert answer == (self.epochs[number - 1], first, head)

    def learn(self, stored: list[Stored]) -> None:
        new = [one.epoch for one in stored if one.seq == 1 and not one.duplicate]
        for epoch in new:
            assert not self.epochs or epoch > self.epochs[-1]
            self.epochs.append(epoch)

    async def expire(self) -> None:
        """One round of retention, here and now."""
        service = self.log._make_retention()
        keep = Retention(None, MOST, None)
        self.log.retention = lambda channel: keep if channel == "c" else UNBOUNDED
        await service._go_round(None)
        self.model.expire()

    async def mark(self, channel: str, seq: int, device: str | None, wait: bool) -> None:
        head = self.log.heads.get(channel)
        cursor = Cursor(head.epoch if head else "000000001", seq)
        if device is None:
            self.log.record_read("alice", channel, cursor)
        else:
            self.log.record_delivered("alice", device, channel, cursor)
        self.model.mark(channel, seq, device)
        if wait:
            await read_something(self.log)

    async def compare(self) -> None:
        log, model, epochs = self.log, self.model, self.epochs
        assert {name: (head.epoch, head.first, head.seq) for name, head in log.heads.items()} == {
            name: (epochs[life.number - 1], life.first, len(life.messages))
            for name, life in model.lives.items()
        }
        for channel, life in model.lives.items():
            head = log.heads[channel]
            expected = life.messages[life.first - 1 :]
            if not expected:
                continue
            found = await read(log, channel, after=life.first - 1)
            assert head.first_at == found[0]["at"] <= found[-1]["at"] == head.at
            for seq, message, one in zip(range(life.first, 1000), found, expected, strict=False):
                assert (message["seq"], message["data"]) == (seq, json.loads(one.draft.data))
                assert message["type"] == one.draft.type
                assert message.get("sender") == one.draft.sender
                assert message["id"] == (one.draft.id or f"{head.epoch}.{seq}")
            assert len(found) == len(expected)
        assert await marks(log, "alice", "d", *CHANNELS) == {
            channel: Marks(self.marked(channel, "d"), self.marked(channel, None))
            for channel in CHANNELS
        }

    def marked(self, channel: str, device: str | None) -> Cursor | None:
        """Of a deleted channel none are told, though they are there when it is made again."""
        if channel not in self.model.lives or (channel, device) not in self.model.marks:
            return None
        number, seq = self.model.marks[channel, device]
        return Cursor(self.epochs[number - 1], seq)


async def read_something(log: Log) -> None:
    await marks(log, "alice", None)


async def test_the_model_can_tell_a_wrong_log(tmp_path: Path) -> None:
    """The comparison is no rubber stamp."""
    model = Model()
    async with opened(tmp_path, OPTIONS) as log:
        stored = await append(log, entry("a", 1))
        model.append("p", [entry("a", 0)])
        player = Player(log, model, [])
        player.learn(stored)
        try:
            await player.compare()
        except AssertionError:
            return
    raise AssertionError("a wrong log was taken for right")
