"""Groups whose place only a pull tells: what is asked, and what is heard meanwhile."""

from __future__ import annotations

from pushd.client.answers import ChannelAnswer, Head, Message, Refusal
from pushd.client.events import Received
from pushd.client.state import FollowState

E = "000000aaa"
GROUP = "group:staff"
HEAD = Head(E, 7)


def answer(*seqs: int) -> ChannelAnswer:
    messages = [Message(seq, f"id{seq}", "message", 1000, seq) for seq in seqs]
    return ChannelAnswer(epoch=E, head=seqs[-1], next=f"{E}.{seqs[-1]}", messages=messages)


def test_a_first_contact_is_pulled_with_mine() -> None:
    state = FollowState({}, mine=True)
    assert state.met(GROUP, HEAD) == []
    assert state.behind
    ask = state.begin(everything=False)
    assert (ask.cursors, ask.mine, ask.placing) == ({}, True, frozenset({GROUP}))
    assert not state.behind
    events = state.answered_unasked(GROUP, answer(6, 7))
    state.settled(ask)
    assert [each.message.seq for each in events if isinstance(each, Received)] == [6, 7]
    assert state.places == {GROUP: f"{E}.7"}
    assert not state.behind


def test_what_is_hinted_at_meanwhile_is_pulled_for() -> None:
    for heard, wanted in ((8, True), (7, False)):
        state = FollowState({}, mine=True)
        state.met(GROUP, HEAD)
        ask = state.begin(everything=False)
        assert not state.heard(GROUP, E, heard)
        assert not state.heard(GROUP, E, 5)
        state.answered_unasked(GROUP, answer(6, 7))
        state.settled(ask)
        assert state.behind is wanted


def test_a_pull_that_failed_is_asked_again() -> None:
    state = FollowState({}, mine=True)
    state.met(GROUP, HEAD)
    state.failed(state.begin(everything=False))
    assert state.behind
    assert state.begin(everything=False).placing == {GROUP}


def test_one_that_was_left_meanwhile_is_not_asked_for_for_ever() -> None:
    for gone in ("unsubscribed", "not brought", "refused"):
        state = FollowState({}, mine=True)
        state.met(GROUP, HEAD)
        ask = state.begin(everything=False)
        if gone == "unsubscribed":
            assert state.drop(GROUP, Refusal("forbidden")) == []
        elif gone == "refused":
            assert state.answered_unasked(GROUP, ChannelAnswer(error=Refusal("forbidden"))) == []
        state.settled(ask)
        state.failed(ask)
        assert not state.behind
        assert state.places == {}


def test_one_that_was_left_and_joined_again_meanwhile() -> None:
    state = FollowState({}, mine=True)
    state.met(GROUP, HEAD)
    ask = state.begin(everything=False)
    state.drop(GROUP, Refusal("forbidden"))
    state.met(GROUP, Head(E, 9))
    state.settled(ask)
    assert state.behind
    assert state.begin(everything=False).placing == {GROUP}


def test_a_device_that_the_server_knows_begins_there() -> None:
    state = FollowState({}, mine=True)
    state.met(GROUP, Head(E, 7, delivered=f"{E}.5"))
    assert state.begin(everything=False).cursors == {GROUP: f"{E}.5"}


def test_without_mine_a_group_means_nothing() -> None:
    state = FollowState({"a": "0"})
    state.met(GROUP, HEAD)
    assert not state.behind
    assert not state.begin(everything=True).mine
