"""Numbering, idempotency, and what the loop hears of a batch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pushd.errors import BadRequest, Conflict, NotReady, Overloaded, TooLarge
from pushd.log import Advance, Append, Log, Stored
from tests.log.support import OPTIONS, answer, append, entry, opened, outcome, read


async def test_seqs_have_no_holes_and_messages_are_what_was_given(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        [first] = await append(
            log, entry("news", {"text": "ä\0"}, sender="alice", type="t", id="i")
        )
        second, other = await append(log, entry("news", [1.5]), entry("sports", None))
        assert (first.seq, second.seq, other.seq) == (1, 2, 1)
        assert first.id == "i"
        assert second.id == f"{second.epoch}.2"
        assert first.epoch == second.epoch != other.epoch
        messages = await read(log, "news")
    assert messages == [
        {"seq": 1, "id": "i", "type": "t", "sender": "alice", "at": first.at,
         "data": {"text": "ä\0"}},
        {"seq": 2, "id": second.id, "type": "message", "at": second.at, "data": [1.5]},
    ]  # fmt: skip


async def test_data_is_kept_byte_for_byte(tmp_path: Path) -> None:
    raw = b'{ "a" :1.0,\n"b": "\\u00e4/\\/" }'
    async with opened(tmp_path) as log:
        given = entry("news")
        await append(log, given._replace(draft=replace(given.draft, data=raw)))
        head = log.heads["news"]
        [message] = await answer(lambda done: log.read_messages(head, 0, 1, 10, 1000, done))
    assert message.endswith(b'"data":' + raw + b"}")


async def test_an_epoch_is_minted_per_channel_and_later_ones_sort_higher(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        stored = await append(log, *(entry(f"c{i}") for i in range(50)))
    async with opened(tmp_path) as log:
        stored += await append(log, entry("later"), entry("latest"))
        epochs = [one.epoch for one in stored]
        assert epochs == sorted(set(epochs))
        assert {head.epoch for head in log.heads.values()} == set(epochs)


async def test_the_times_of_a_channel_never_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as log:
        [before] = await append(log, entry("news"))
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000_000)
    async with opened(tmp_path) as log:
        [after] = await append(log, entry("news"))
        [fresh] = await append(log, entry("other"))
    assert after.at == before.at
    assert fresh.at == 1000
    assert fresh.epoch > before.epoch


@pytest.mark.parametrize("restart", [False, True])
async def test_a_retry_gets_the_first_answer(tmp_path: Path, restart: bool) -> None:
    async with opened(tmp_path) as log:
        [first] = await append(log, entry("news", id="a", sender="alice"))
        if not restart:
            [again] = await append(log, entry("news", id="a", sender="alice"))
    if restart:
        async with opened(tmp_path) as log:
            [again] = await append(log, entry("news", id="a", sender="alice"))
            assert log.heads["news"].seq == 1
    assert again == first._replace(duplicate=True)


@pytest.mark.parametrize(
    "change", [{"data": "other"}, {"type": "x"}, {"sender": "bob"}, {"sender": None}]
)
async def test_the_same_id_for_another_body_is_a_conflict_and_stores_nothing(
    tmp_path: Path, change: dict[str, str]
) -> None:
    async with opened(tmp_path) as log:
        await append(log, entry("news", id="a", sender="alice"))
        changed = entry("news", **({"id": "a", "sender": "alice"} | change))
        with pytest.raises(Conflict, match=r"'a'.*'news'"):
            await append(log, entry("news"), entry("new"), changed)
        assert log.heads["news"].seq == 1
        assert "new" not in log.heads
        assert (await append(log, entry("news")))[0].seq == 2


@pytest.mark.parametrize("other", ["channel", "publisher"])
async def test_ids_count_per_channel_and_publisher(tmp_path: Path, other: str) -> None:
    async with opened(tmp_path) as log:
        await append(log, entry("news", id="a"))
        channel = "sports" if other == "channel" else "news"
        publisher = "service" if other == "publisher" else "user:alice"
        [stored] = await append(log, entry(channel, "another", id="a"), publisher=publisher)
        assert not stored.duplicate


async def test_duplicates_within_one_append_and_one_batch(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        answers: list[object] = []
        twice = [entry("news", id="a"), entry("news", id="a")]
        clash = [entry("news", 1, id="b"), entry("news", 2, id="b")]
        late = [entry("news", id="a"), entry("news", 3)]
        all_three = [Append(e, "user:alice", answers.append) for e in (twice, clash, late)]
        log.submit_many(all_three)
        await append(log, entry("done"))
        first, conflict, third = answers
        assert isinstance(first, list)
        assert [one.duplicate for one in first] == [False, True]
        assert first[0].seq == first[1].seq == 1
        assert isinstance(conflict, Conflict)
        assert isinstance(third, list)
        assert [(one.seq, one.duplicate) for one in third] == [(1, True), (2, False)]


async def test_one_that_is_no_text_harms_only_itself(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        answers: list[object] = []
        bad = [
            entry("news", sender="\ud800"),
            entry("news", id="\ud800"),
            entry("news", type="\ud800"),
            entry("\ud800"),
        ]
        log.submit_many(
            [Append([entry("news"), one, entry("n2")], "user:alice", answers.append) for one in bad]
            + [Append([entry("news", id="x")], "\ud800", answers.append)]
            + [Append([entry("news", 7, id="x")], "user:alice", answers.append)]
        )
        await append(log, entry("done"))
        good = [one for one in answers if isinstance(one, list)]
        assert [[stored.seq for stored in one] for one in good] == [[1]]
        assert [type(one) for one in answers if one is not good[0]] == [BadRequest] * 5
        assert [message["data"] for message in await read(log, "news")] == [7]
        assert set(log.heads) == {"news", "done"}


async def test_heads_move_before_the_callbacks_and_one_advance_per_channel(tmp_path: Path) -> None:
    heard: list[object] = []
    async with opened(tmp_path) as log:

        def advanced(advances: list[Advance]) -> None:
            for head, start, messages in advances:
                assert log.heads[head.channel] is head
                assert head.seq == start + len(messages) - 1
                assert [json.loads(message)["seq"] for message in messages] == list(
                    range(start, head.seq + 1)
                )
            heard.append(sorted((head.channel, start, head.seq) for head, start, _ in advances))

        log.on_advance = advanced
        log.submit_many(
            [Append([entry("a"), entry("b"), entry("a")], "p", lambda _: heard.append("done"))] * 2
        )
        await append(log, entry("c"))
    flat = [item for item in heard if item != "done"]
    assert heard.index("done") > heard.index(flat[0])
    assert heard.count("done") == 2
    moves = [move for batch in flat for move in batch]  # type: ignore[attr-defined]
    assert max(seq for channel, _, seq in moves if channel == "a") == 4


async def test_a_callback_that_fails_harms_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:

        def broken(_: object) -> None:
            raise RuntimeError("broken callback")

        answers: list[object] = []
        log.on_advance = broken
        log.submit_many(
            [Append([entry("a")], "p", done) for done in (broken, answers.append, broken)]
        )
        log.submit(Append([entry("a")], "p", answers.append))
        assert [stored.seq for stored in await append(log, entry("a"))] == [5]
        assert len(answers) == 2


async def test_a_full_backlog_refuses_before_anything_is_taken(tmp_path: Path) -> None:
    async with opened(tmp_path, replace(OPTIONS, backlog_bytes=10_000)) as log:
        answers: list[list[Stored]] = []
        one = Append([entry("a", "x" * 3000)], "p", answers.append)  # type: ignore[arg-type]
        log.submit_many([one, one])
        with pytest.raises(Overloaded) as refusal:
            log.submit_many([one, one])
        assert refusal.value.retry_after == 1
        log.submit(one)
        with pytest.raises(Overloaded):
            log.submit(one)
        with pytest.raises(TooLarge):
            log.submit(Append([entry("a", "x" * 10_000)], "p", answers.append))  # type: ignore[arg-type]
        # Answers come in order.
        await append(log, entry("b"))
        assert len(answers) == 3
        assert log.statistics().backlog_bytes == 0
        await append(log, entry("a", "y" * 9000))
        assert log.heads["a"].seq == 4


@pytest.mark.parametrize("beyond", [0, 1])
async def test_a_backlog_at_its_limit_and_one_byte_beyond(tmp_path: Path, beyond: int) -> None:
    one = Append([entry("a", "x" * 3000)], "p", lambda _: None)
    async with opened(tmp_path, replace(OPTIONS, backlog_bytes=2 * one.size - beyond)) as log:
        log.submit(one)
        if beyond:
            with pytest.raises(Overloaded):
                log.submit(one)
        else:
            log.submit(one)


async def test_nothing_is_taken_before_the_start_and_after_the_end(tmp_path: Path) -> None:
    log = Log(tmp_path, OPTIONS)
    one = Append([entry("a")], "p", lambda _: None)
    with pytest.raises(NotReady):
        log.submit(one)
    async with opened(tmp_path) as log:
        answers: list[object] = []
        log.submit(Append([entry("a")], "p", answers.append))
        log.close()
        with pytest.raises(NotReady):
            log.submit(one)
        head = log.heads.get("a")
        assert head is None
    assert len(answers) == 1
    assert isinstance(answers[0], list)
    head = log.heads["a"]
    late = await outcome(lambda done: log.read_messages(head, 0, 1, 1, 1, done))
    assert isinstance(late, NotReady)
