"""Members of groups on disk: what was answered holds, also after a restart, and nothing else."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from pushd.core.positions import NO_EPOCH, Cursor
from pushd.errors import BadRequest, NotFound
from pushd.log import Append, Log, MembersChanged
from pushd.log.changes import Request
from pushd.log.crossing import Signal
from pushd.log.intake import WEIGHT
from pushd.log.store import DATABASE
from pushd.log.sweeper import CHUNK
from tests.log.invariants import check
from tests.log.support import answer, append, delete, entry, opened, upkept
from tests.log.vaults import rows


async def change(
    log: Log, group: str, add: list[str] | None = None, remove: list[str] | None = None
) -> MembersChanged:
    return await answer(lambda done: log.change_members(group, add or [], remove or [], done))


async def end(log: Log, group: str) -> None:
    await answer(lambda done: log.delete_group(group, done))


def known(log: Log) -> dict[str, set[str]]:
    return {name: set(log.groups.members(name)) for name in log.groups.names()}


async def test_members_outlive_the_process(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        before = Cursor(NO_EPOCH, 0)
        assert await change(log, "staff", ["bob", "amy", "bob"]) == (
            "staff", ("amy", "bob"), (), before, False,
        )  # fmt: skip
        [stored] = await append(log, entry("group:staff", 1))
        after = Cursor(stored.epoch, 1)
        changed = await change(log, "staff", ["cy", "amy"], ["bob", "nobody"])
        assert changed == MembersChanged("staff", ("cy",), ("bob",), after)
        await change(log, "élan", ["日本"])
        expected = {"staff": {"amy", "cy"}, "élan": {"日本"}}
        assert known(log) == expected
        assert log.groups.joined("staff", "cy") == after
    async with opened(tmp_path) as log:
        assert known(log) == expected
        assert log.groups.of("cy") == ["staff"]
        assert log.groups.joined("staff", "cy") == after
        assert log.groups.joined("staff", "amy") == before
        assert log.groups.memberships == 3
        check(tmp_path)


async def test_what_changes_nothing_is_told_to_nobody(tmp_path: Path) -> None:
    told: list[MembersChanged] = []
    async with opened(tmp_path) as log:
        log.on_members = told.extend
        await change(log, "staff", ["amy"])
        for add, remove in ((["amy"], []), ([], ["bob"]), ([], [])):
            changed = await change(log, "staff", add, remove)
            assert (changed.joined, changed.left) == ((), ())
        assert await change(log, "other", [], ["amy"])
        assert [(each.joined, each.left) for each in told] == [(("amy",), ())]
        assert known(log) == {"staff": {"amy"}}
    assert rows(tmp_path / DATABASE, "SELECT name FROM groups") == [("staff",)]


async def test_nobody_is_both_added_and_removed(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        with pytest.raises(BadRequest, match="both"):
            await change(log, "staff", ["amy", "bob"], ["bob"])
        with pytest.raises(BadRequest, match="Unicode"):
            await change(log, "staff", ["\ud800"])
        assert known(log) == {}


async def test_a_group_ends_with_its_last_member_and_its_channel_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await change(log, "staff", ["amy"])
        await append(log, entry("group:staff", 1))
        await change(log, "staff", [], ["amy"])
        assert known(log) == {}
        assert "group:staff" in log.heads
    assert rows(tmp_path / DATABASE, "SELECT * FROM groups") == []


@pytest.mark.parametrize("restart", [False, True])
async def test_a_deleted_group_takes_its_channel_along(tmp_path: Path, restart: bool) -> None:
    crowd = [f"u{number}" for number in range(3 * CHUNK)]
    told: list[MembersChanged] = []
    async with opened(tmp_path) as log:
        log.on_members = told.extend
        await change(log, "staff", crowd)
        await change(log, "other", ["u1"])
        await append(log, entry("group:staff", "secret"))
        await end(log, "staff")
        assert set(told[-1].left) == set(crowd)
        assert "group:staff" not in log.heads
        assert known(log) == {"other": {"u1"}}
        assert log.groups.of("u1") == ["other"]
        with pytest.raises(NotFound):
            await end(log, "staff")
        if not restart:
            await change(log, "staff", ["u2"])
    async with opened(tmp_path) as log:
        if restart:
            await change(log, "staff", ["u2"])
        assert known(log) == {"other": {"u1"}, "staff": {"u2"}}
        # What the first life did not come to.
        log._put(Signal.TIDY)
        await upkept(log)
        check(tmp_path)
    assert sorted(rows(tmp_path / DATABASE, "SELECT user FROM members")) == [("u1",), ("u2",)]
    assert sorted(rows(tmp_path / DATABASE, "SELECT name FROM groups")) == [("other",), ("staff",)]


async def test_a_channel_without_members_can_be_deleted_as_a_group(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, entry("group:old", 1))
        await end(log, "old")
        assert log.heads == {}


async def test_a_later_life_of_the_channel_came_after_all_joining(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, *(entry("group:staff", number) for number in range(5)))
        await change(log, "staff", ["amy"])
        assert log.groups.joined("staff", "amy") == (log.heads["group:staff"].epoch, 5)
        await delete(log, "group:staff")
        await change(log, "staff", ["bob"])
        await append(log, entry("group:staff", 1))
        await change(log, "staff", ["cy"])
        epoch = log.heads["group:staff"].epoch
    async with opened(tmp_path) as log:
        for user, joined in {"amy": (NO_EPOCH, 0), "bob": (NO_EPOCH, 0), "cy": (epoch, 1)}.items():
            assert log.groups.joined("staff", user) == joined, user


@pytest.mark.parametrize("restart", [False, True])
async def test_an_erased_user_is_in_no_group(tmp_path: Path, restart: bool) -> None:
    async with opened(tmp_path) as log:
        await change(log, "staff", ["amy", "bob"])
        await change(log, "alone", ["amy"])
        erased = await answer(lambda done: log.erase_user("amy", done))
        assert sorted(erased.groups) == ["alone", "staff"]
        if not restart:
            assert known(log) == {"staff": {"bob"}}
            assert log.groups._of_user == {"bob": ("staff",)}
    async with opened(tmp_path) as log:
        assert known(log) == {"staff": {"bob"}}
    assert rows(tmp_path / DATABASE, "SELECT user FROM members") == [("bob",)]


async def test_pages_go_by_name(tmp_path: Path) -> None:
    users = sorted((f"u{number}" for number in range(25)), key=str.encode)
    async with opened(tmp_path) as log:
        await change(log, "staff", users)
        found: list[str] = []
        while page := await answer(partial(log.read_members, "staff", "".join(found[-1:]), 10)):
            found += [each.name for each in page]
        assert found == users
        assert await answer(lambda done: log.read_members("other", "", 10, done)) == []
        await change(log, "other", ["u3"])
        mine = await answer(lambda done: log.read_groups("u3", ["staff", "other", "none"], done))
        assert {each.name for each in mine} == {"staff", "other"}
        assert all(each.at > 0 and each.joined == (NO_EPOCH, 0) for each in mine)


async def test_a_heavy_change_is_committed_alone(tmp_path: Path) -> None:
    """So that publishes wait for one of them, not for all that wait."""
    batches: list[list[int]] = []
    async with opened(tmp_path) as log:
        changer = log._started_engine.writer._changer
        apply = changer.change

        def watched(requests: list[Request]) -> None:
            batches.append([each.weight for each in requests])
            apply(requests)

        changer.change = watched  # type: ignore[method-assign]
        crowd = [f"u{number}" for number in range(WEIGHT)]
        for group in ("a", "b"):
            log.change_members(group, crowd, [], lambda _: None)
        await change(log, "c", ["amy"])
        assert known(log).keys() == {"a", "b", "c"}
    heavy = [sum(weight > WEIGHT for weight in batch) for batch in batches]
    assert sum(heavy) == 2
    assert max(heavy) == 1


async def test_members_and_messages_keep_their_order(tmp_path: Path) -> None:
    """Who joins after a message joins behind it, however little lies between."""
    async with opened(tmp_path) as log:
        for number in range(20):
            log.submit(Append([entry("group:g", number)], "service", lambda _: None))
            log.change_members("g", [f"u{number}"], [], lambda _: None)
        await change(log, "g", ["last"])
        epoch = log.heads["group:g"].epoch
        joined = [log.groups.joined("g", f"u{number}") for number in range(20)]
    assert joined == [(epoch, number + 1) for number in range(20)]


def test_ids_go_through_json_as_they_are() -> None:
    from pushd.log.members import _json

    for text in ("é", "日本", '"', "\\", "a'b"):
        assert json.loads(_json([text])) == [text]
