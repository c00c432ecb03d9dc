"""Boxes of those who long-poll: conflated, bounded, told once."""

from __future__ import annotations

import msgspec
import pytest
import trio

from pushd import notices as module
from pushd.core.wheel import Expiring, TimingWheel
from pushd.notices import MAX_OF_USER, MAX_READS, Box, Notices


class Poll:
    def __init__(self, box: Box, fail: bool = False) -> None:
        self.done = False
        self.told: list[tuple[str, str]] = []
        self._box = box
        self._fail = fail
        box.hold(self)

    def moved(self) -> None:
        self.done = True
        if self._fail:
            raise RuntimeError("this one's connection is broken")
        self.told = taken(self._box)


def taken(box: Box) -> list[tuple[str, str]]:
    told = [msgspec.json.decode(each) for each in box.take()]
    return [(each["channel"], each["cursor"]) for each in told]


@pytest.fixture
async def notices() -> Notices:
    wheel: TimingWheel[Expiring] = TimingWheel(0.25, trio.current_time())
    return Notices(wheel, 60.0)


async def test_the_newest_of_each_channel_and_the_oldest_channel_goes(notices: Notices) -> None:
    box = notices.box("alice", "phone")
    for number in range(MAX_READS + 2):
        notices.read("alice", None, f"c{number}", "1")
    notices.read("alice", None, "c5", "2")
    assert box
    told = taken(box)
    assert len(told) == MAX_READS
    assert (told[0], told[-1]) == (("c2", "1"), ("c5", "2"))
    assert not box
    assert taken(box) == []


@pytest.mark.parametrize("named", [True, False])
async def test_many_devices_of_one_user_take_nobody_elses_box(
    notices: Notices, named: bool
) -> None:
    other = notices.box("bob", "phone")
    phone = notices.box("alice", "phone")
    for letter in "de":
        for number in range(MAX_OF_USER - 1):
            notices.box("alice", f"{letter}{number}" if named else None)
        assert notices.box("alice", "phone") is phone
    assert len(notices) == MAX_OF_USER + 1
    for number in range(MAX_OF_USER):
        notices.box("alice", f"f{number}" if named else None)
    assert notices.box("alice", "phone") is not phone
    assert notices.box("bob", "phone") is other


async def test_only_the_user_and_not_the_device_that_reads(notices: Notices) -> None:
    phone, tablet = notices.box("alice", "phone"), notices.box("alice", "tablet")
    other = notices.box("bob", "phone")
    notices.read("alice", "phone", "news", "1")
    notices.read("carol", None, "news", "1")
    assert [bool(phone), bool(tablet), bool(other)] == [False, True, False]
    assert notices.box("alice", "tablet") is tablet


async def test_every_held_poll_is_told_and_one_that_fails_harms_none(notices: Notices) -> None:
    box = notices.box("alice", "phone")
    gone, broken, first, second = Poll(box), Poll(box, fail=True), Poll(box), Poll(box)
    gone.done = True
    notices.read("alice", None, "news", "1")
    assert gone.told == []
    assert first.told == second.told == [("news", "1")]
    assert broken.done
    assert not box, "told once"


async def test_without_a_device_a_box_goes_with_its_answer(notices: Notices) -> None:
    first, second = notices.box("alice", None), notices.box("alice", None)
    assert first is not second
    poll = Poll(first)
    notices.read("alice", None, "news", "1")
    assert poll.told == [("news", "1")]
    assert len(notices) == 1
    assert taken(second) == [("news", "1")]
    assert len(notices) == 0
    assert notices._of_user == {}


async def test_the_one_idle_longest_makes_room(
    notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BOXES", 2)
    notices.box("a", "d")
    notices.box("b", "d")
    notices.box("a", "d")
    notices.box("c", "d")
    assert list(notices._of_user) == ["a", "c"]
    assert len(notices) == 2


async def test_a_poll_that_outlives_its_box_harms_the_next_one_nothing(
    notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered when its box is gone already, and perhaps replaced."""
    monkeypatch.setattr(module, "MAX_BOXES", 1)
    gone = notices.box("alice", "phone")
    notices.box("bob", "phone")
    box = notices.box("alice", "phone")
    assert taken(gone) == []
    gone.expire()
    assert list(notices._boxes) == [box]
    notices.read("alice", None, "news", "1")
    assert taken(box) == [("news", "1")]
    box.expire()
    assert (len(notices), notices._of_user) == (0, {})
