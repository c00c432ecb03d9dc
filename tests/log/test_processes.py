"""Real processes, killed or with a failing disk: what was acked is there, and nothing has holes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pushd.log import Log
from tests.chaos.faultdisk import FaultDisk
from tests.log import churn
from tests.log.commanded import number_of, one
from tests.log.invariants import check as check_database
from tests.log.support import append, marks, on_disk, opened, read, swept

ROOT = Path(__file__).parents[2]


class Process:
    """``commanded.py`` under command. Everything it says is kept in ``said``."""

    def __init__(self, directory: Path, disk: FaultDisk, start: int) -> None:
        self.said: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.log.commanded", directory, str(start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=disk.environment(),
        )
        self.until("started")

    def until(self, word: str, count: int = 1) -> list[dict[str, Any]]:
        """Reads on until it has said so, or has ended; answers what came."""
        assert self.process.stdout is not None
        heard = []
        for line in self.process.stdout:
            heard.append(json.loads(line))
            count -= word in heard[-1]
            if not count or "ended" in heard[-1]:
                break
        self.said += heard
        return heard

    def do(self, command: str) -> list[dict[str, Any]]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.until("obeyed")

    def kill(self) -> None:
        self.process.kill()
        self.until("never")
        self.process.wait()

    @property
    def acked(self) -> list[dict[str, Any]]:
        return [said for said in self.said if "acked" in said]


@contextmanager
def process(directory: Path, disk: FaultDisk, start: int = 0) -> Iterator[Process]:
    started = Process(directory, disk, start)
    with started.process:
        try:
            yield started
        finally:
            started.process.kill()


async def check(log: Log, acked: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Every acked message is where its ack said; the seqs have no hole. Answers the numbers."""
    found: dict[str, list[int]] = defaultdict(list)
    for channel, head in log.heads.items():
        while len(found[channel]) < head.seq:
            messages = await read(log, channel, after=len(found[channel]))
            seqs = [message["seq"] for message in messages]
            assert seqs == list(range(len(found[channel]) + 1, seqs[-1] + 1))
            found[channel] += [message["data"] for message in messages]
    for ack in acked:
        assert log.heads[ack["channel"]].epoch == ack["epoch"]
        assert found[ack["channel"]][ack["seq"] - 1] == number_of(ack["acked"])
    return found


async def test_killed_while_it_writes(tmp_path: Path) -> None:
    """Three times; then all that was ever sent is sent again, and each is stored once."""
    acked: list[dict[str, Any]] = []
    for acks_before_the_kill in (1, 300, 2000):
        with process(tmp_path / "log", FaultDisk(tmp_path), start=len(acked)) as killed:
            killed.do("flood")
            killed.until("acked", acks_before_the_kill)
            killed.kill()
            assert len(killed.acked) >= acks_before_the_kill
            acked += killed.acked
    async with opened(tmp_path / "log") as log:
        found = await check(log, acked)
        numbers = sorted(found["a"] + found["b"])
        sent_at_most = max(numbers) + 64
        again = await append(log, *(e for n in range(sent_at_most) for e in one(n)), publisher="p")
        assert sum(stored.duplicate for stored in again) == len(numbers)
        found = await check(log, acked)
        assert sorted(found["a"] + found["b"]) == list(range(sent_at_most))


async def test_killed_while_it_changes_all_there_is(tmp_path: Path) -> None:
    """Each channel is as its last acked step left it, or as the one under way; nothing between."""
    states = dict.fromkeys(churn.CHANNELS, churn.State())
    for steps in (1, 50, 200, 400, 800, 300):
        with process(tmp_path / "log", FaultDisk(tmp_path)) as killed:
            killed.do(f"churn {json.dumps(states, separators=(',', ':'))}")
            killed.until("churned", steps)
            killed.kill()
            assert not [said for said in killed.said if "refused" in said]
        await find_states(tmp_path / "log", states, killed)
    async with opened(tmp_path / "log") as log:
        await swept(log)
    check_database(tmp_path / "log")
    assert sorted({name for name, _ in on_disk(tmp_path / "log")}) == sorted(
        channel for channel, state in states.items() if state.alive and state.first <= state.head
    )


@pytest.mark.parametrize(
    "fault", ["sync EIO pushd.db-wal 30", "write EIO pushd.db-wal 200", "write EIO pushd.db$ 20"]
)
async def test_a_disk_that_fails_under_changes_ends_the_process_and_undoes_none(
    tmp_path: Path, fault: str
) -> None:
    disk = FaultDisk(tmp_path)
    states = dict.fromkeys(churn.CHANNELS, churn.State())
    with process(tmp_path / "log", disk) as broken:
        broken.do("append 1")
        disk.refuse(fault)
        broken.do(f"churn {json.dumps(states, separators=(',', ':'))}")
        broken.until("ended")
        disk.mend()
        assert broken.said[-1]["ended"] == "StorageBroken", broken.said[-1]
        refused = [said["refused"] for said in broken.said if "refused" in said]
        assert set(refused) == {"StorageBroken"}
        assert len(refused) == len(churn.CHANNELS)
    await find_states(tmp_path / "log", states, broken)


async def find_states(directory: Path, states: dict[str, churn.State], ended: Process) -> None:
    """Takes the states from what was acked to what is there."""
    for said in ended.said:
        if "churned" in said:
            *numbers, redacted = said["state"]
            states[said["churned"]] = churn.State(*numbers, tuple(redacted))
    check_database(directory)
    async with opened(directory) as log:
        for channel, state in states.items():
            states[channel] = await found_state(log, channel, state)


async def found_state(log: Log, channel: str, acked: churn.State) -> churn.State:
    """The one of the two that may be; what was under way is tried again, and stored once."""
    step = churn.next_step(channel, acked)
    head = log.heads.get(channel)
    seen = (False, 1, 0) if head is None else (True, head.first, head.seq)
    possible = [state for state in (step.after, acked) if state[1:4] == seen]
    assert possible, (seen, acked, step)
    state = possible[0]
    if step.name == "append":
        stored = await append(log, *churn.entries_of(channel, step), publisher="p")
        assert {one.duplicate for one in stored} == {state == step.after}
        assert [one.seq for one in stored][-1] == step.after.head
        state = step.after
    redacted = set()
    after = state.first - 1
    while state.alive and after < state.head:
        for message in await read(log, channel, after=after):
            after += 1
            assert message["seq"] == after
            if message["type"] == "redacted":
                redacted.add(after)
            else:
                assert message["data"] == churn.data_of(channel, state.life, after)
    assert redacted - set(state.redacted) <= ({step.argument} if step.name == "redact" else set())
    assert set(state.redacted) - redacted <= ({step.argument} if step.name == "redact" else set())
    return state._replace(redacted=tuple(sorted(redacted)))


async def test_a_full_disk_refuses_appends_keeps_reads_and_loses_no_mark(tmp_path: Path) -> None:
    disk = FaultDisk(tmp_path)
    with process(tmp_path / "log", disk) as full:
        full.do("append 6")
        full.do("mark 2")
        disk.refuse("write ENOSPC pushd.db")
        for _ in range(3):
            refused, _ = full.do("append 1")
            assert refused["refused"] == "StorageFull"
            assert full.do("read a")[0] == {"read": 3, "head": 3}
        disk.mend()
        more = full.do("append 4")
        assert [said["seq"] for said in more if "acked" in said] == [4, 4, 5, 5]
        full.do("end")
        assert full.until("ended")[-1] == {"ended": "closed"}
    async with opened(tmp_path / "log") as log:
        await check(log, full.acked)
        assert len(full.acked) == 10
        [mark] = (await marks(log, "alice", None, "a")).values()
        assert mark.read is not None
        assert mark.read.seq == 2


# The file, and how many syncs or writes of it still succeed.
FAULTS = [
    "sync EIO pushd.db-wal 1",
    "sync EIO pushd.db-wal 9",
    "sync ENOSPC pushd.db-wal 2",
    "sync EIO pushd.db$ 1",
    "sync EIO pushd.db$ 3",
    "write EIO pushd.db-wal 1",
    "write EIO pushd.db-wal 12",
    "write EIO pushd.db$ 1",
    "write EIO pushd.db$ 5",
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_disk_that_fails_ends_the_process_and_loses_nothing_acked(
    tmp_path: Path, fault: str
) -> None:
    """Neither that batch is retried nor another tried; the next start finds all that was acked."""
    disk = FaultDisk(tmp_path)
    with process(tmp_path / "log", disk) as broken:
        broken.do("append 3")
        disk.refuse(fault)
        broken.do("append 200")
        if "ended" not in broken.said[-1]:
            broken.until("ended")
        disk.mend()
        assert broken.said[-1]["ended"] == "StorageBroken", broken.said[-1]
        assert len(broken.acked) < 203
    async with opened(tmp_path / "log") as log:
        found = await check(log, broken.acked)
        stored = found["a"] + found["b"]
        # The batch under way is unknown: at most it is there as well.
        assert len(broken.acked) <= len(stored) <= len(broken.acked) + 1
        retried = [(await append(log, *one(n), publisher="p"))[0] for n in range(203)]
        assert sum(one.duplicate for one in retried) == len(stored)
        found = await check(log, broken.acked)
        assert sorted(found["a"] + found["b"]) == list(range(203))


async def test_a_checkpoint_that_finds_no_space_is_put_off(tmp_path: Path) -> None:
    disk = FaultDisk(tmp_path)
    with process(tmp_path / "log", disk) as full:
        full.do("append 3")
        disk.refuse("write ENOSPC pushd.db$")
        full.do("append 100")
        disk.mend()
        full.do("append 100")
        assert len(full.acked) == 203
        full.kill()
    async with opened(tmp_path / "log") as log:
        found = await check(log, full.acked)
        assert sorted(found["a"] + found["b"]) == list(range(203))
