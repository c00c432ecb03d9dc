"""From what a publisher sends to what is stored, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.access import Access
from pushd.core.frames import Message, Targets
from pushd.core.messages import Draft
from pushd.core.namespaces import Namespaces, Rules
from pushd.core.permissions import Identity
from pushd.errors import BadRequest, Forbidden, NotFound, Overloaded, PushdError, TooLarge
from pushd.log import Append, Stored
from pushd.publish import Publisher, numbered_lines, stored_json

SERVICE = Identity(None, scopes=frozenset({"publish"}))
ALICE = Identity("alice", publish=("room:*",))


class Log:
    """Takes appends, or refuses them all."""

    def __init__(self, refusal: PushdError | None = None) -> None:
        self.taken: list[Append] = []
        self.refusal = refusal

    def submit(self, append: Append) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken.append(append)


RULES = {"open": Rules(publish="users"), "room": Rules(), "closed": Rules(publish="services")}


def publisher(log: Log | None = None, max_body: int = 1000, max_targets: int = 5) -> Publisher:
    pretended: Any = log or Log()
    access = Access(frozenset())
    return Publisher(pretended, Namespaces(Rules(), RULES), access, max_body, max_targets)


def message(data: bytes = b"1", **members: Any) -> Message:
    return Message(data=msgspec.Raw(data), **members)


def nothing(_: object) -> None:
    pass


@given(st.text())
def test_any_text_is_stored_as_that_string(text: str) -> None:
    try:
        stored = publisher().text_message(text.encode())
    except UnicodeEncodeError:
        return  # half a surrogate pair is no UTF-8
    assert json.loads(bytes(stored.data)) == text


@given(st.binary())
def test_bytes_that_are_no_text_are_refused(body: bytes) -> None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        with pytest.raises(BadRequest, match="not UTF-8"):
            publisher().text_message(body)
    else:
        assert json.loads(bytes(publisher().text_message(body).data)) == text


@given(st.lists(st.sampled_from(["a", "b", "user:u", "group:g"])), st.lists(st.just("u")))
def test_targets_are_named_once_in_the_order_given(channels: list[str], users: list[str]) -> None:
    to = Targets(channels=channels, users=users, groups=["g"], all=True)
    named = publisher(max_targets=1000).channels_of(to)
    assert len(named) == len(set(named))
    assert set(named) == {*channels, *(f"user:{user}" for user in users), "group:g", "all"}
    firsts = [name for at, name in enumerate(channels) if name not in channels[:at]]
    assert named[: len(firsts)] == firsts


def test_targets_are_counted_before_they_are_looked_at() -> None:
    with pytest.raises(TooLarge, match="6 targets; at most 5"):
        publisher().channels_of(Targets(channels=["a/b"] * 6))


@pytest.mark.parametrize(
    ("who", "sender", "stored"),
    [
        (SERVICE, None, None),
        (SERVICE, "bob", "bob"),
        (ALICE, None, "alice"),
        (ALICE, "alice", "alice"),
    ],
)
def test_the_sender(who: Identity, sender: str | None, stored: str | None) -> None:
    assert publisher().draft(who, message(sender=sender)) == Draft(b"1", sender=stored)


@pytest.mark.parametrize(
    ("who", "given_message", "error"),
    [
        (ALICE, message(sender="bob"), Forbidden),
        (ALICE, message(sender=""), Forbidden),
        (SERVICE, message(sender=""), BadRequest),
        (SERVICE, message(sender="a/b"), BadRequest),
        (SERVICE, message(b'"' + b"x" * 1000 + b'"'), TooLarge),
        (SERVICE, message(id=""), BadRequest),
        (SERVICE, message(id="x" * 129), BadRequest),
        (SERVICE, message(type=""), BadRequest),
        (SERVICE, message(type="x" * 65), BadRequest),
    ],
)
def test_no_drafts(who: Identity, given_message: Message, error: type[PushdError]) -> None:
    with pytest.raises(error):
        publisher().draft(who, given_message)


def test_labels_at_their_limits() -> None:
    draft = publisher().draft(SERVICE, message(id="x" * 128, type="y" * 64))
    assert (draft.id, draft.type) == ("x" * 128, "y" * 64)


def test_one_append_for_all_channels() -> None:
    log = Log()
    answers: list[object] = []
    draft = Draft(b"1")
    publisher(log).submit(ALICE, ["room:1", "room:2"], draft, answers.append)
    [append] = log.taken
    assert [tuple(entry) for entry in append.entries] == [("room:1", draft), ("room:2", draft)]
    assert append.publisher == "user:alice"
    append.done([])
    assert answers == [[]]


@pytest.mark.parametrize(
    ("who", "channels", "error"),
    [
        (ALICE, ["room:1", "news"], Forbidden),
        (ALICE, ["room:1", "closed:1"], Forbidden),
        (ALICE, ["session:s"], Forbidden),
        (SERVICE, ["$control"], Forbidden),
        (SERVICE, ["news", "session:s"], NotFound),
        (Identity(None, scopes=frozenset({"read", "admin"})), ["news"], Forbidden),
    ],
)
def test_nothing_is_submitted_when_one_channel_is_refused(
    who: Identity, channels: list[str], error: type[PushdError]
) -> None:
    log = Log()
    with pytest.raises(error):
        publisher(log).submit(who, channels, Draft(b"1"), nothing)
    assert log.taken == []


def test_a_log_that_refuses_is_the_publishers_answer() -> None:
    with pytest.raises(Overloaded):
        publisher(Log(Overloaded("full"))).submit(SERVICE, ["news"], Draft(b"1"), nothing)


@given(st.lists(st.sampled_from([b"a", b"{}", b"", b" ", b"\r", b"\t x"])))
def test_lines_keep_their_numbers(lines: list[bytes]) -> None:
    found = list(numbered_lines(b"\n".join(lines)))
    assert found == [(at, line) for at, line in enumerate(lines, 1) if line.strip()]


PARSERS: list[Callable[[Publisher, bytes], object]] = [
    Publisher.parse_message,
    Publisher.parse_fanned,
    Publisher.parse_line,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(st.binary(max_size=9))
def test_no_bytes_do_harm(parse: Callable[[Publisher, bytes], object], body: bytes) -> None:
    with pytest.raises(BadRequest):  # none so short is a whole message
        parse(publisher(), body)


def test_a_duplicate_says_so() -> None:
    stored = Stored("news", "0mhx3f9ab", 7, "m1", 5, duplicate=True)
    told = {"channel": "news", "epoch": "0mhx3f9ab", "seq": 7, "id": "m1", "at": 5}
    assert stored_json(stored) == {**told, "duplicate": True}
    assert stored_json(stored._replace(duplicate=False)) == told


@pytest.mark.parametrize("good", [True, False])
def test_a_users_messages_are_told_of_when_they_are_on_disk_and_before_the_answer(
    good: bool,
) -> None:
    log, order = Log(), list[object]()
    writes = publisher(log)
    writes.on_own = lambda identity, stored, by: order.append((identity.user, stored, by))
    draft = writes.draft(ALICE, message())
    stored = [Stored("room:1", "0mhx3f9ab", 7, "x", 1, False)]
    result = stored if good else Overloaded("full")
    writes.submit(ALICE, ["room:1"], draft, order.append)
    assert order == [], "nothing is read before it is stored"
    log.taken[-1].done(result)
    assert order == [*([("alice", stored, None)] if good else []), result]
    order.clear()
    writes.submit(SERVICE, ["room:1"], draft, order.append)
    log.taken[-1].done(result)
    assert order == [result], "a service reads nothing"
