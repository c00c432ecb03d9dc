"""The decisions of a follower: tables for each rule, then a model with a lying network."""

from __future__ import annotations

import msgspec
import pytest

from pushd.client.answers import ChannelAnswer, Fading, Head, Message, Refusal, ResetAnswer
from pushd.client.complete import is_ahead
from pushd.client.events import Dropped, Expiring, Placed, Received, Reset
from pushd.client.problems import BadAnswer
from pushd.client.state import FollowState
from pushd.core.positions import parse_cursor
from pushd.errors import BadRequest

A, B = "000000aaa", "000000bbb"


def messages(*seqs: int) -> list[Message]:
    return [Message(seq, f"id{seq}", "message", 1000 + seq, seq) for seq in seqs]


def answer(epoch: str, *seqs: int, at: int, head: int | None = None) -> ChannelAnswer:
    """Messages ``seqs``, after which the cursor is ``at``."""
    head = at if head is None else head
    return ChannelAnswer(
        epoch=epoch,
        first=1,
        head=head,
        next=f"{epoch}.{at}",
        more=at < head,
        messages=messages(*seqs),
    )


@pytest.mark.parametrize(
    ("cursor", "epoch", "seq", "ahead"),
    [
        ("0", A, 0, False),
        ("0", A, 1, True),
        ("0", "none", 0, False),
        ("head", A, 0, True),
        ("head", "none", 0, True),
        (f"{A}.5", A, 4, False),
        (f"{A}.5", A, 5, False),
        (f"{A}.5", A, 6, True),
        # Another epoch, whichever sorts higher and whatever its number.
        (f"{A}.5", B, 1, True),
        (f"{B}.5", A, 9, True),
        (f"{A}.5", "none", 0, True),
        ("none.0", "none", 0, False),
        ("none.0", A, 0, False),
        ("none.0", A, 1, True),
    ],
)
def test_what_is_ahead(cursor: str, epoch: str, seq: int, ahead: bool) -> None:
    assert is_ahead(epoch, seq, parse_cursor(cursor)) is ahead


def test_only_head_is_pulled_before_anything_is_heard() -> None:
    state = FollowState({"a": "head", "b": "0", "c": f"{A}.3"})
    assert state.behind
    assert state.begin(everything=False).cursors == {"a": "head"}


def test_a_bad_cursor_is_refused_at_once() -> None:
    with pytest.raises(BadRequest, match="bare number"):
        FollowState({"a": "41"})


def test_a_hint_moves_no_cursor() -> None:
    state = FollowState({"a": f"{A}.3"})
    assert state.heard("a", A, 9)
    assert state.places == {"a": f"{A}.3"}
    assert state.cursors == {"a": f"{A}.3"}


def test_an_up_to_date_client_pulls_nothing_after_a_hello() -> None:
    state = FollowState({"a": f"{A}.3", "b": "0"})
    assert not state.heard("a", A, 3)
    assert not state.heard("b", "none", 0)
    assert not state.behind


def test_a_hint_of_a_strange_channel_means_nothing() -> None:
    state = FollowState({"a": f"{A}.3"})
    assert not state.heard("user:me", A, 9)
    state.suspect(["user:me"])
    assert not state.behind


def test_messages_come_in_order_and_move_the_cursor() -> None:
    state = FollowState({"a": f"{A}.3"})
    state.heard("a", A, 5)
    ask = state.begin(everything=False)
    assert ask.cursors == {"a": f"{A}.3"}
    events = state.answered("a", f"{A}.3", answer(A, 4, 5, at=5))
    assert [(event.cursor, event.message.seq) for event in events] == [
        (f"{A}.4", 4),
        (f"{A}.5", 5),
    ]
    assert state.places == {"a": f"{A}.5"}
    assert not state.behind


def test_who_is_slow_is_told_before_the_page() -> None:
    state = FollowState({"a": f"{A}.3"})
    page = msgspec.structs.replace(answer(A, 4, at=4, head=9), expiring=Fading(2, 1500))
    events = state.answered("a", f"{A}.3", page)
    assert events[0] == Expiring("a", 2, 1500)
    assert [type(each) for each in events[1:]] == [Received]
    state.took(events[0])
    assert state.cursors == {"a": f"{A}.3"}, "it moves nothing"


def test_pages_are_pulled_until_current() -> None:
    state = FollowState({"a": "0"})
    state.heard("a", A, 4)
    state.begin(everything=False)
    state.answered("a", "0", answer(A, 1, 2, at=2, head=4))
    ask = state.begin(everything=False)
    assert ask.cursors == {"a": f"{A}.2"}
    state.answered("a", f"{A}.2", answer(A, 3, 4, at=4))
    assert not state.behind


@pytest.mark.parametrize(
    ("hints", "wanted"),
    [
        ([(A, 5)], False),
        ([(A, 6)], True),
        ([(A, 6), (A, 4)], True),  # out of order
        ([(A, 5), (A, 5)], False),
        ([(B, 1)], True),
    ],
)
def test_a_hint_heard_during_a_pull_is_compared_with_its_answer(
    hints: list[tuple[str, int]], wanted: bool
) -> None:
    state = FollowState({"a": f"{A}.3"})
    state.heard("a", A, 4)
    state.begin(everything=False)
    for epoch, seq in hints:
        state.heard("a", epoch, seq)
    state.answered("a", f"{A}.3", answer(A, 4, 5, at=5))
    assert state.behind is wanted


def test_a_hint_that_no_answer_confirms_is_settled() -> None:
    """Else a hint of an old epoch would be pulled for, again and again."""
    state = FollowState({"a": f"{B}.3"})
    assert state.heard("a", A, 9)
    state.begin(everything=False)
    assert state.answered("a", f"{B}.3", answer(B, at=3)) == []
    assert not state.behind


def test_a_failed_pull_is_still_wanted() -> None:
    state = FollowState({"a": f"{A}.3", "b": f"{A}.1"})
    state.heard("a", A, 4)
    ask = state.begin(everything=True)
    assert set(ask.cursors) == {"a", "b"}
    state.failed(ask)
    assert set(state.begin(everything=False).cursors) == {"a"}


def test_a_late_answer_changes_nothing() -> None:
    state = FollowState({"a": f"{A}.3"})
    state.begin(everything=True)
    state.answered("a", f"{A}.3", answer(A, 4, at=4))
    assert state.answered("a", f"{A}.3", answer(A, 4, at=4)) == []
    assert state.places == {"a": f"{A}.4"}


def test_a_reset_is_an_event_and_goes_on_from_resume() -> None:
    state = FollowState({"a": f"{A}.3"})
    state.heard("a", B, 7)
    state.begin(everything=False)
    reset = ResetAnswer("epoch_changed", f"{B}.5", B, 6, 7, None)
    events = state.answered("a", f"{A}.3", ChannelAnswer(reset=reset))
    assert events == [Reset("a", f"{B}.5", "epoch_changed", None, "")]
    assert state.begin(everything=False).cursors == {"a": f"{B}.5"}
    assert len(state.answered("a", f"{B}.5", answer(B, 6, 7, at=7))) == 2


def test_head_becomes_a_position() -> None:
    state = FollowState({"a": "head"})
    state.begin(everything=False)
    assert state.answered("a", "head", answer(A, at=9)) == [Placed("a", f"{A}.9")]
    assert state.places == {"a": f"{A}.9"}


@pytest.mark.parametrize("code", ["forbidden", "bad_request", "not_found"])
def test_a_refused_channel_is_dropped_and_said_once(code: str) -> None:
    state = FollowState({"a": "0", "b": "0"})
    state.begin(everything=True)
    refused = ChannelAnswer(error=Refusal(code, "no"))
    assert state.answered("a", "0", refused) == [Dropped("a", code, "no")]
    assert state.answered("a", "0", refused) == []
    assert state.channels == ["b"]


def test_a_busy_channel_is_asked_again() -> None:
    state = FollowState({"a": "0"})
    state.begin(everything=True)
    assert state.answered("a", "0", ChannelAnswer(error=Refusal("overloaded"))) == []
    assert state.behind


@pytest.mark.parametrize(
    ("cursor", "wrong"),
    [
        (f"{A}.3", answer(A, 5, at=5)),  # 4 is missing
        (f"{A}.3", answer(A, 3, 4, at=4)),  # 3 again
        (f"{A}.3", answer(A, 4, 6, at=6)),
        (f"{A}.3", answer(A, 5, 4, at=4)),
        (f"{A}.3", answer(A, 5, 4, at=5)),  # not in order
        (f"{A}.3", answer(A, 4, 4, 6, at=6)),  # as many as there should be
        (f"{A}.3", answer(A, 4, at=9)),  # next beyond what came
        (f"{A}.3", answer(A, at=4)),
        (f"{A}.3", answer(A, at=2)),
        (f"{A}.3", answer(B, 1, at=1)),  # another life without a reset
        (f"{A}.3", answer(B, 4, 5, at=5)),
        (f"{A}.3", answer(B, at=3)),
        ("none.0", answer(A, 2, at=2)),
        ("0", answer(A, 1, 3, at=3)),
        (f"{A}.3", ChannelAnswer(epoch=A, next="head")),
        (f"{A}.3", ChannelAnswer(reset=ResetAnswer("expired", "12"))),
    ],
)
def test_an_answer_with_a_hole_is_refused(cursor: str, wrong: ChannelAnswer) -> None:
    state = FollowState({"a": cursor})
    state.begin(everything=True)
    with pytest.raises(BadAnswer):
        state.answered("a", cursor, wrong)
    assert state.places == {"a": cursor}


def test_ones_own_go_on_where_the_server_has_the_device() -> None:
    state = FollowState({}, mine=True)
    heads = {
        "user:alice": Head(A, 9, delivered=f"{A}.4"),
        "user:alice:new": Head(B, 9),
        "session:s1": Head(B, 1),
    }
    for name, head in heads.items():
        state.met(name, head)
    assert state.places == {"user:alice": f"{A}.4", "user:alice:new": "0", "session:s1": "0"}
    ask = state.begin(everything=False)
    assert ask.wanted == set(heads)


def test_one_of_ones_own_that_a_pull_brings_beside_a_hello_is_left_as_it_is() -> None:
    """The hello came while the pull was under way."""
    state = FollowState({}, mine=True)
    state.begin(everything=True)
    state.met("user:alice", Head(A, 2, delivered=f"{A}.1"))
    assert state.answered_unasked("user:alice", answer(A, 1, 2, at=2)) == []
    assert state.places == {"user:alice": f"{A}.1"}


def test_acks_follow_what_was_taken_and_what_pulls_told() -> None:
    state = FollowState({"a": f"{A}.3", "b": "0", "c": "head"})
    state.begin(everything=True)
    first, second = state.answered("a", f"{A}.3", answer(A, 4, 5, at=5))
    assert state.unacked(9) == {}, "the pull told .3 itself"
    state.took(first)
    assert state.unacked(9) == {"a": f"{A}.4"}
    assert state.cursors["a"] == f"{A}.4"
    state.took(second)
    assert state.unacked(9) == {"a": f"{A}.5"}
    assert state.unacked(0) == {}
    state.acked({"a": f"{A}.5", "gone": "0"})
    assert state.unacked(9) == {}
