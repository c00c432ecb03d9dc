"""The two threads of a log: started together, ended in order, never waited for without end."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import structlog
import trio

from pushd.log.crossing import Outcome, Signal
from pushd.log.marks import MarkBuffer
from pushd.log.reader import Done, Reader
from pushd.log.requests import LogOptions
from pushd.log.startup import Opened
from pushd.log.writer import Writer

_logger = structlog.get_logger("pushd.log")
_T = TypeVar("_T")

# A disk that hangs must not keep the process from ending; the threads are daemons.
END_SECONDS: Final = 30.0


class Engine:
    """``stored`` and ``answered`` are called on the loop, once per batch."""

    def __init__(
        self,
        opened: Opened,
        directory: Path,
        options: LogOptions,
        marks: MarkBuffer,
        stored: Callable[[Outcome], None],
        answered: Callable[[list[tuple[Done, object]]], None],
    ) -> None:
        self.ended = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._opened = opened
        self.writer = Writer(
            opened, directory, options, marks, lambda outcome: self._post(stored, outcome)
        )

        def taken(answers: list[tuple[Done, object]]) -> None:
            self.reader.ahead.release()
            answered(answers)

        self.reader = Reader(opened.reader, lambda answers: self._post(taken, answers))
        self._threads = [
            threading.Thread(target=self._write, name="pushd log writer", daemon=True),
            threading.Thread(target=self.reader.run, name="pushd log reader", daemon=True),
        ]

    def start(self) -> None:
        """Both threads run from now on."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Asks both to end after what waits."""
        self.writer.queue.put(Signal.CLOSE)
        self.reader.queue.put(None)

    async def end(self) -> None:
        """Waits for the threads, closes, unlocks. Not interrupted by cancelling, but by time."""
        self.finish()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + END_SECONDS):
            await trio.to_thread.run_sync(self._join, abandon_on_cancel=True)
            return
        _logger.error("the log has not ended in time; its lock stays until the process ends")

    def _join(self) -> None:
        for thread in self._threads:
            thread.join(END_SECONDS)
            if thread.is_alive():
                return
        # The last one to close checkpoints; the reader's cannot write, so it goes first.
        self._opened.reader.close()
        if self.writer.error is None:
            self._opened.lock.note_end()
            self._opened.store.close()
        else:
            # Closing would sync once more what has failed to sync: keep it open for ever.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._opened.store.connection))
        self._opened.lock.release()

    def _write(self) -> None:
        self.writer.run()
        self._post(lambda _: self.ended.set(), None)

    def _post(self, callback: Callable[[_T], None], value: _T) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(callback, value)
