"""Against a model of ten lines: whatever is appended, retried, marked and restarted."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.positions import Cursor
from pushd.errors import Conflict, PushdError
from pushd.log import Append, Entry, Log, Marks, Stored
from tests.log.support import append, entry, marks, opened, read

CHANNELS = ["a", "b", "c"]
ENTRIES = st.builds(
    entry,
    st.sampled_from(CHANNELS),
    st.integers(0, 1),
    id=st.sampled_from([None, None, "x", "y"]),
    type=st.sampled_from(["message", "other"]),
    sender=st.sampled_from([None, "alice"]),
)
APPENDS = st.tuples(
    st.just("append"),
    st.lists(
        st.tuples(st.sampled_from(["p", "q"]), st.lists(ENTRIES, min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
)
MARKS = st.tuples(
    st.just("mark"), st.sampled_from(CHANNELS), st.integers(0, 6), st.sampled_from([None, "d"])
)
STEPS = st.lists(st.one_of(APPENDS, APPENDS, MARKS, st.just(("restart",))), min_size=1, max_size=12)


@dataclass
class Model:
    """What a log is, said in the simplest way."""

    messages: dict[str, list[Entry]] = field(default_factory=dict)
    used: dict[tuple[str, str, str], tuple[int, Entry]] = field(default_factory=dict)
    marks: dict[tuple[str, str | None], int] = field(default_factory=dict)

    def append(self, publisher: str, entries: list[Entry]) -> list[tuple[int, bool]] | None:
        """seq and duplicate of each entry; None for a conflict."""
        tried = Model({c: list(m) for c, m in self.messages.items()}, dict(self.used))
        answers = []
        for one in entries:
            key = (one.channel, publisher, one.draft.id or "")
            if one.draft.id is not None and key in tried.used:
                seq, first = tried.used[key]
                if first != one:
                    return None
                answers.append((seq, True))
            else:
                log = tried.messages.setdefault(one.channel, [])
                log.append(one)
                answers.append((len(log), False))
                if one.draft.id is not None:
                    tried.used[key] = len(log), one
        self.messages, self.used = tried.messages, tried.used
        return answers

    def mark(self, channel: str, seq: int, device: str | None) -> None:
        if seq <= len(self.messages.get(channel, [])) and channel in self.messages:
            key = channel, device
            self.marks[key] = max(seq, self.marks.get(key, 0))


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_the_log_behaves_as_its_model(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(play, Path(directory), steps)


async def play(directory: Path, steps: list[tuple[Any, ...]]) -> None:
    model = Model()
    steps = [*steps, ("restart",)]
    while steps:
        async with opened(directory) as log:
            await compare(log, model)
            while steps:
                name, *arguments = steps.pop(0)
                if name == "restart":
                    break
                await getattr(Player(log, model), name)(*arguments)
            await compare(log, model)
    async with opened(directory) as log:
        await compare(log, model)


class Player:
    def __init__(self, log: Log, model: Model) -> None:
        self.log = log
        self.model = model

    async def append(self, given: list[tuple[str, list[Entry]]]) -> None:
        """All of them at once, so that they fall into one batch."""
        answers: list[list[Stored] | PushdError] = []
        self.log.submit_many(
            [Append(entries, publisher, answers.append) for publisher, entries in given]
        )
        while len(answers) < len(given):
            await read_something(self.log)
        for (publisher, entries), answer in zip(given, answers, strict=True):
            expected = self.model.append(publisher, entries)
            if expected is None:
                assert isinstance(answer, Conflict)
            else:
                assert isinstance(answer, list)
                assert [(one.seq, one.duplicate) for one in answer] == expected

    async def mark(self, channel: str, seq: int, device: str | None) -> None:
        head = self.log.heads.get(channel)
        cursor = Cursor(head.epoch if head else "000000001", seq)
        if device is None:
            self.log.record_read("alice", channel, cursor)
        else:
            self.log.record_delivered("alice", device, channel, cursor)
        self.model.mark(channel, seq, device)


async def read_something(log: Log) -> None:
    await marks(log, "alice", None)


async def compare(log: Log, model: Model) -> None:
    assert {name: head.seq for name, head in log.heads.items()} == {
        name: len(messages) for name, messages in model.messages.items()
    }
    epochs = [head.epoch for head in log.heads.values()]
    assert len(set(epochs)) == len(epochs)
    for channel, expected in model.messages.items():
        found = await read(log, channel)
        assert [message["seq"] for message in found] == list(range(1, len(expected) + 1))
        for message, one in zip(found, expected, strict=True):
            assert message["data"] == json.loads(one.draft.data)
            assert (message["type"], message.get("sender")) == (one.draft.type, one.draft.sender)
            default = f"{log.heads[channel].epoch}.{message['seq']}"
            assert message["id"] == (one.draft.id or default)
    found_marks = await marks(log, "alice", "d", *CHANNELS)
    assert found_marks == {
        channel: Marks(
            *(
                None if seq is None else Cursor(log.heads[channel].epoch, seq)
                for seq in (model.marks.get((channel, "d")), model.marks.get((channel, None)))
            )
        )
        for channel in CHANNELS
    }


async def test_the_model_can_tell_a_wrong_log(tmp_path: Path) -> None:
    """The comparison is no rubber stamp."""
    model = Model()
    async with opened(tmp_path) as log:
        await append(log, entry("a", 1))
        model.append("p", [entry("a", 0)])
        try:
            await compare(log, model)
        except AssertionError:
            return
    raise AssertionError("a wrong log was taken for right")
