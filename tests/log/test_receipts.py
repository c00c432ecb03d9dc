"""Who has come how far: of a channel page by page, of a user at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pushd.core.positions import Cursor
from pushd.log import Log, Receipts, UserMarks, receipts
from tests.log.support import OPTIONS, answer, append, delete, entry, opened, written

NEVER = replace(OPTIONS, write_behind_s=3600.0)
USERS = ["alice", "bob", "ca", "dä", "e\U0001f600", "f"]
MARKS = st.lists(
    st.tuples(
        st.sampled_from(USERS),
        st.sampled_from([None, "phone", "tablet"]),
        st.sampled_from(["news", "other"]),
        st.integers(1, 5),
        st.booleans(),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(MARKS, st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 2, 3, 1000]))
def test_pages_hold_everybody_who_has_it(
    tmp_path_factory: pytest.TempPathFactory,
    marks: list[tuple[str, str | None, str, int, bool]],
    seq: int,
    limit: int,
    look_at: int,
) -> None:
    directory = tmp_path_factory.mktemp("log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(receipts, "LOOK_AT", look_at)
        trio.run(pages, directory, marks, seq, limit)


async def pages(
    directory: Path, marks: list[tuple[str, str | None, str, int, bool]], seq: int, limit: int
) -> None:
    delivered: dict[tuple[str, str], dict[str, int]] = {}
    read: dict[tuple[str, str], int] = {}
    async with opened(directory, NEVER) as log:
        await append(log, *(entry(name) for name in ("news", "other") for _ in range(5)))
        for user, device, channel, at, write in marks:
            cursor = Cursor(log.heads[channel].epoch, at)
            if device is None:
                log.record_read(user, channel, cursor)
                read[user, channel] = max(at, read.get((user, channel), 0))
            else:
                log.record_delivered(user, device, channel, cursor)
                of_user = delivered.setdefault((user, channel), {})
                of_user[device] = max(at, of_user.get(device, 0))
            if write:
                await written(log)
        found = await all_pages(log, "news", seq, limit)
        for user in USERS:
            have = {d: at for d, at in delivered.get((user, "news"), {}).items() if at >= seq}
            has_read = read.get((user, "news"), 0)
            if not have and has_read < seq:
                assert user not in found
                continue
            assert {d: at.seq for d, at in found[user].delivered.items()} == have
            cursor_read = found[user].read
            assert (0 if cursor_read is None else cursor_read.seq) == (
                has_read if has_read >= seq else 0
            )
            of_user_ = await answer(lambda done, user=user: log.read_user(user, done))
            assert {
                name: ({d: at.seq for d, at in m.delivered.items()}, m.read and m.read.seq)
                for name, m in of_user_.items()
            } == {
                name: (delivered.get((user, name), {}), read.get((user, name)))
                for name in ("news", "other")
                if (user, name) in delivered or (user, name) in read
            }


async def all_pages(log: Log, channel: str, seq: int, limit: int) -> dict[str, UserMarks]:
    found: dict[str, UserMarks] = {}
    after: str | None = None
    while True:
        page: Receipts = await answer(
            lambda done, after=after: log.read_receipts(channel, seq, limit, after, done)
        )
        assert len(page.users) <= limit
        assert list(page.users) == sorted(page.users)
        assert not found.keys() & page.users.keys()
        found |= page.users
        if page.next is None:
            return found
        assert after is None or page.next > after
        after = page.next


async def test_of_an_earlier_life_nobody_has_anything(tmp_path: Path) -> None:
    async with opened(tmp_path, NEVER) as log:
        await append(log, entry("news"))
        old = Cursor(log.heads["news"].epoch, 1)
        log.record_read("alice", "news", old)
        await delete(log, "news")
        assert await all_pages(log, "news", 1, 10) == {}
        assert await answer(lambda done: log.read_user("alice", done)) == {}
        await append(log, entry("news"))
        assert await all_pages(log, "news", 1, 10) == {}
        found = await answer(lambda done: log.read_user("alice", done))
        assert found["news"].read == old
        assert await all_pages(log, "never written", 1, 10) == {}
