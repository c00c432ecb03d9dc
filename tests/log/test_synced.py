"""Before a file gets the name that counts, it is on disk; and then the name is, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from pushd.log.store import DATABASE
from pushd.log.tools import backup as backups
from pushd.log.tools import restore as restores
from pushd.log.tools.backup import backup
from pushd.log.tools.restore import restore
from tests.log.support import open_and_close
from tests.log.vaults import fill, nothing
from tests.support.steps import recorded


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("whole") / "data"
    trio.run(fill, directory)
    return directory


def noting(monkeypatch: pytest.MonkeyPatch, steps: list[str], module: Any, name: str) -> None:
    """The last time that a function of this module writes to the file."""
    real = getattr(module, name)

    def noted(*arguments: Any) -> Any:
        result = real(*arguments)
        steps.append(name)
        return result

    monkeypatch.setattr(module, name, noted)


def in_order(steps: list[str], *wanted: str) -> None:
    """These come one after the other, others between them."""
    left = iter(steps)
    assert all(step in left for step in wanted), steps


def test_a_backup(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = recorded(monkeypatch)
    noting(monkeypatch, steps, backups.marker, "write")
    backup(data, tmp_path / "b.db", nothing)
    renamed = "b.db.partial -> b.db"
    in_order(steps, "write", "sync b.db.partial", renamed, f"sync {tmp_path.name}")


def test_a_restore(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(data, tmp_path / "b.db", nothing)
    target = tmp_path / "target"
    open_and_close(target)
    steps = recorded(monkeypatch)
    noting(monkeypatch, steps, restores, "renew")
    done = restore(tmp_path / "b.db", target, lambda _: True, nothing)
    assert done.aside is not None
    decided = f"{DATABASE}.next-{done.aside.name.removeprefix('replaced-')}"
    in_order(
        steps,
        "renew",
        f"sync {DATABASE}.restoring",
        f"{DATABASE}.restoring -> {decided}",
        f"sync {target.name}",  # from here on it counts
        f"{DATABASE} -> {DATABASE}",
        f"sync {done.aside.name}",
        f"sync {target.name}",
        f"{decided} -> {DATABASE}",
        f"sync {target.name}",
    )


def test_directories_that_a_start_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite syncs its files and the one that they are in, but none above."""
    steps = recorded(monkeypatch)
    open_and_close(tmp_path / "new" / "er" / "data")
    assert {"sync er", "sync new", f"sync {tmp_path.name}"} <= set(steps)
