"""``pushctl`` killed right before its Nth step on the disk; without a new Python for each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushd.log.store import DATABASE

ROOT = Path(__file__).parents[2]

# For each line it forks: what a start costs is paid once, and there are very many steps.
_PROGRAM = """
import json, os, signal, sys, traceback
from pathlib import Path

left = -1
def counted(call):
    def step(*arguments, **named):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return step
for name in ("rename", "replace", "mkdir", "unlink", "fsync", "fdatasync", "chmod"):
    setattr(os, name, counted(getattr(os, name)))
import pushd.cli.backup, pushd.cli.compact, pushd.cli.restore
import pushd.cli.datadir as datadir
import pushd.log.sweeper as sweeper
import pushd.log.tools.compact as compacting
from pushd.cli import main
from pushd.log import LogOptions
from pushd.log.startup import open_log
compacting._STEPS = 500
sweeper.BUDGET_S = 60.0  # slices end by their size: each run has the same steps

def do(step, arguments):
    global left
    if step:
        if arguments[0] == "compact":  # in the middle of SQLite's work, too, where it says how far
            datadir.Meter.__call__ = counted(datadir.Meter.__call__)
        left = step
        sys.argv = ["pushctl", *arguments]
        main()
    log = open_log(Path(arguments[0]), LogOptions())
    log.store.connection.execute("INSERT INTO meta VALUES ('a', 'b'), ('c', 'd')")
    os.kill(os.getpid(), signal.SIGKILL)

for line in sys.stdin:
    step, errors, arguments = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        code = 70
        try:
            do(step, arguments)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Killer:
    """See ``killer``."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors

    def run(self, step: int, *arguments: str | Path) -> int:
        """``pushctl`` with these, killed before this step. Its exit code: 0, or -SIGKILL."""
        code = self._do(step, *arguments)
        assert code in (0, -signal.SIGKILL), self._errors.read_text()
        return code

    def leave_a_wal(self, data: Path) -> None:
        """As a server that was killed does: its newest commits are in the -wal only."""
        assert self._do(0, data) == -signal.SIGKILL, self._errors.read_text()
        assert (data / f"{DATABASE}-wal").stat().st_size

    def _do(self, step: int, *arguments: str | Path) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = [step, str(self._errors), [str(each) for each in arguments]]
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def killer(home: Path) -> Iterator[Killer]:
    """``home``: where it may write down what goes wrong."""
    command = [sys.executable, "-c", _PROGRAM]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Killer(process, home / "errors")
        finally:
            process.kill()
