"""A machine that is busy elsewhere, to find tests that only pass because nothing else runs.

``PUSHD_JITTER=SEED`` turns it on (``tests/conftest.py``): Trio's loop stands still now and then,
threads that it asks begin and come back late, and the processes that a test has started are
stopped for a moment. No test may fail by it, however long it takes.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any

import trio

STEP = 0.02  # of all steps of tasks stand still before they run
STALL = 0.0005  # of all steps stand still for long
THREAD = 0.2  # of all calls in threads are late


class Jitter(trio.abc.Instrument):
    """Delays single steps of tasks."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        chance = self._dice.random()
        if chance < STALL:
            time.sleep(self._dice.uniform(0.2, 0.6))
        elif chance < STEP:
            time.sleep(self._dice.uniform(0.0, 0.01))


class Stopper(threading.Thread):
    """Stops one process that this one has started, then another. Lets be what a test stopped."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(daemon=True, name="jitter")
        self._dice = dice
        self._kill = os.kill
        self._lock = threading.Lock()
        self._held: set[int] = set()  # by the test

    def kill(self, pid: int, number: int) -> None:
        """As ``os.kill``, in whose place the test calls it."""
        with self._lock:
            if number == signal.SIGSTOP:
                self._held.add(pid)
            elif number:
                self._held.discard(pid)
            self._kill(pid, number)

    def run(self) -> None:
        while True:
            time.sleep(self._dice.uniform(0.0, 0.3))
            running = [pid for pid in descendants(os.getpid()) if state(pid) in "RS"]
            if not running:
                continue
            pid = self._dice.choice(running)
            with suppress(ProcessLookupError):
                self._kill(pid, signal.SIGSTOP)
                time.sleep(self._dice.uniform(0.0, 0.2))
                with self._lock:
                    if pid not in self._held:
                        self._kill(pid, signal.SIGCONT)


def descendants(of: int) -> list[int]:
    """Processes below one, whose number it is."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{of}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def state(pid: int) -> str:
    """What /proc calls it: R, S, D, T, Z; X when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _late(dice: random.Random, sync_fn: Callable[..., Any], *args: Any) -> Any:
    if dice.random() < THREAD:
        time.sleep(dice.uniform(0.0, 0.05))
    try:
        return sync_fn(*args)
    finally:
        if dice.random() < THREAD:
            time.sleep(dice.uniform(0.0, 0.05))


def jitter_everything(seed: str) -> None:
    """From here on, in this process and those that it starts. Cannot be taken back."""
    dice = random.Random(seed)
    run, run_sync = trio.run, trio.to_thread.run_sync

    @wraps(run)
    def jittery_run(*args: Any, instruments: Any = (), **kwargs: Any) -> Any:
        return run(*args, instruments=[*instruments, Jitter(dice)], **kwargs)

    @wraps(run_sync)
    async def jittery_run_sync(sync_fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await run_sync(partial(_late, dice, sync_fn), *args, **kwargs)

    trio.run = jittery_run
    trio.to_thread.run_sync = jittery_run_sync
    stopper = Stopper(dice)
    os.kill = stopper.kill
    stopper.start()
