"""Builds the load generator (``load/*.c``) and runs it: one JSON object for one mode."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCES = HERE / "load"
BINARY = HERE / "build" / "load"
FLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wshadow"]

Result = dict[str, Any]


class BenchmarkError(Exception):
    """A run that measured nothing: a failed build, server or generator. The text says why."""


def build() -> Path:
    """Compiles when a source is newer than the binary; safe when several do it at once."""
    sources = sorted(SOURCES.glob("*.c"))
    newest = max(path.stat().st_mtime for path in [*sources, SOURCES / "load.h"])
    if BINARY.exists() and BINARY.stat().st_mtime > newest:
        return BINARY
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchmarkError("no C compiler: install one that is called as 'cc'")
    BINARY.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BINARY.parent) as scratch:
        fresh = Path(scratch) / "load"
        command = [compiler, *FLAGS, "-o", str(fresh), *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            raise BenchmarkError(f"the load generator does not build cleanly:\n{done.stderr}")
        os.replace(fresh, BINARY)
    return BINARY


def arguments(mode: str, **options: object) -> list[str]:
    """The command line; ``pull_path="/x"`` is ``--pull-path /x``, True a flag, a list repeats."""
    command = [str(BINARY), mode]
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            command.append(option)
        elif isinstance(value, list):
            command += [part for item in value for part in (option, str(item))]
        elif value is not None:
            command += [option, str(value)]
    return command


def parse(mode: str, output: bytes) -> Result:
    try:
        result: Result = json.loads(output)
    except ValueError as error:
        raise BenchmarkError(f"{mode}: the generator printed no result: {output!r}") from error
    return result


def run(
    mode: str, server: Mapping[str, object], *, timeout: float = 120, **options: object
) -> Result:
    """Runs one mode to its end. ``server``: how to speak to it; ``timeout`` in seconds.

    Raises BenchmarkError.
    """
    command = arguments(mode, timeout=timeout, **server, **options)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            timeout=timeout + 30,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(
            f"{mode}: the generator did not end in {timeout + 30:.0f} s"
        ) from error
    if done.returncode:
        why = done.stderr.decode(errors="replace") or f"exit status {done.returncode}"
        raise BenchmarkError(f"{mode}: {why.strip()}\n{done.stdout.decode(errors='replace')}")
    return parse(mode, done.stdout)
