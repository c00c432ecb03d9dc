"""A follower against a server with real positions and a network that loses, repeats, reorders."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.client.answers import ChannelAnswer, Message, ResetAnswer
from pushd.client.events import Received, Reset
from pushd.client.state import FollowState
from pushd.core.positions import Cursor, next_epoch, parse_cursor
from pushd.core.pulling import Position, resolve
from pushd.errors import Expired
from pushd.errors import Reset as ResetError


@dataclass
class Server:
    """One channel; ``log`` keeps every message of the present life, ``first`` trims it."""

    epoch: str = "none"
    lives: int = 0
    first: int = 1
    log: list[int] = field(default_factory=list)
    published: int = 0

    def publish(self) -> None:
        if self.epoch == "none":
            self.lives += 1
            self.epoch = next_epoch(None, self.lives)
        self.published += 1
        self.log.append(self.published)

    def renew(self) -> None:
        """Deleted; the next publish mints another epoch."""
        self.epoch, self.first, self.log = "none", 1, []

    def trim(self, count: int) -> None:
        self.first = min(self.first + count, len(self.log) + 1)

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.first, len(self.log))

    def pull(self, text: str, limit: int) -> ChannelAnswer:
        try:
            after = resolve(parse_cursor(text), self.position)
        except ResetError as reset:
            more = reset.extra
            return ChannelAnswer(
                reset=ResetAnswer(reset.code, more["resume"], skipped=more["skipped"])
            )
        found = [
            Message(seq, f"m{self.log[seq - 1]}", "message", 0, self.log[seq - 1])
            for seq in range(after + 1, min(len(self.log), after + limit) + 1)
        ]
        upto = after + len(found)
        return ChannelAnswer(
            epoch=self.epoch,
            first=self.first,
            head=len(self.log),
            next=str(Cursor(self.epoch, upto)),
            more=upto < len(self.log),
            messages=found,
        )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 5)),
        st.tuples(st.just("trim"), st.integers(1, 4)),
        st.tuples(st.just("renew"), st.just(0)),
        st.tuples(st.just("hint"), st.integers(0, 9)),
        st.tuples(st.just("send"), st.integers(1, 4)),
        st.tuples(st.just("answer"), st.integers(0, 2)),
    ),
    max_size=60,
)


class World:
    """Plays the steps. Positions to hint at are remembered, so that old ones come again."""

    def __init__(self, begin: str) -> None:
        self.server = Server()
        self.state = FollowState({"a": begin})
        self.heads: list[tuple[str, int]] = [("none", 0)]
        self.flight: tuple[str, ChannelAnswer] | None = None
        self.seen: list[int] = []
        self.resets = 0

    def play(self, step: str, amount: int) -> None:
        if step == "publish":
            for _ in range(amount):
                self.server.publish()
        elif step == "trim":
            self.server.trim(amount)
        elif step == "renew":
            self.server.renew()
        elif step == "hint":
            # Any earlier position, again or out of order; most are lost (never played).
            self.state.heard("a", *self.heads[-1 - amount % len(self.heads)])
        elif step == "send" and self.flight is None and self.state.behind:
            cursor = self.state.begin(everything=False).cursors["a"]
            self.flight = cursor, self.server.pull(cursor, amount)
        elif step == "answer" and self.flight is not None:
            self.deliver(lost=amount == 0, twice=amount == 2)
        if self.heads[-1] != (head := (self.server.epoch, len(self.server.log))):
            self.heads.append(head)

    def deliver(self, *, lost: bool, twice: bool) -> None:
        assert self.flight is not None
        (cursor, found), self.flight = self.flight, None
        if lost:
            self.state.suspect(["a"])
            return
        for _ in range(1 + twice):
            for event in self.state.answered("a", cursor, found):
                self.resets += isinstance(event, Reset)
                if isinstance(event, Received):
                    self.seen.append(event.message.data)

    def catch_up(self) -> None:
        """The timed pull, until current."""
        self.play("answer", 1)
        self.state.suspect(["a"])
        for _ in range(1000):
            if not self.state.behind:
                return
            self.play("send", 3)
            self.play("answer", 1)
        raise AssertionError("never current")


@settings(max_examples=400, deadline=None)
@given(STEPS, st.sampled_from(["0", "head", "none.0"]))
def test_every_retained_message_once_and_in_order(steps: list[tuple[str, int]], begin: str) -> None:
    world = World(begin)
    for step, amount in steps:
        world.play(step, amount)
        assert world.seen == sorted(set(world.seen)), "out of order or twice"
    world.catch_up()
    assert world.seen == sorted(set(world.seen))
    kept = world.server.log[world.server.first - 1 :]
    if begin != "head":
        assert world.seen[len(world.seen) - len(kept) :] == kept, "a retained message is missing"
        missing = set(range(1, world.server.published + 1)) - set(world.seen)
        lost_a_life = world.server.epoch == "none" or world.server.lives > 1
        if not world.resets and not lost_a_life:
            # What is missing without a reset was trimmed before the first pull from '0'.
            assert all(number < min(world.seen or [10**9]) for number in missing)
            assert begin == "0" or not missing
    assert str(world.state.places["a"]) in (
        str(Cursor(world.server.epoch, len(world.server.log))),
        begin,
    )


def test_resets_of_the_model_are_those_of_the_server() -> None:
    """The model must be able to reset at all, or the property above is empty."""
    world = World("none.0")
    for step, amount in [("publish", 5), ("trim", 3)]:
        world.play(step, amount)
    with pytest.raises(Expired):
        resolve(parse_cursor("none.0"), world.server.position)
    world.catch_up()
    assert world.resets == 1
    assert world.seen == [4, 5]
