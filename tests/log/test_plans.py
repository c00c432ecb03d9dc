"""Bounded work: no statement looks at rows that it does not need, however many there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from pushd.log import (
    believed,
    devices,
    fading,
    history,
    holds,
    ledger,
    members,
    notes,
    reader,
    receipts,
    slowest,
    startup,
    store,
    sweeper,
)
from pushd.log.store import connect_reader
from tests.log.support import open_and_close

MODULES = [
    *(believed, devices, fading, history, holds, ledger, members, notes, reader, receipts),
    *(slowest, store, sweeper),
]
# Read whole, once, at the start.
WHOLE = {"sweeper._WAITING", "members._NAMED"}
# What is scanned is as small as the statement's own arguments, a row of constants, or the few looks
# of a search that halves.
SMALL = re.compile(r"SCAN (wanted|look|json_each|\d+ CONSTANT ROWS?|CONSTANT ROW|\(subquery-\d+\))")


def statements(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Every constant that is SQL, also those in tuples and tables."""
    prefix = module.__name__.rpartition(".")[2]
    for name, value in vars(module).items():
        texts = value if isinstance(value, tuple) else [value]
        texts = list(value.values()) if isinstance(value, dict) else texts
        for text in texts:
            if isinstance(text, str) and re.match("(SELECT|UPDATE|DELETE|WITH) ", text):
                yield f"{prefix}.{name}", text


ALL = [one for module in MODULES for one in statements(module) if "{" not in one[1]]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("empty")
    open_and_close(directory)
    return directory


def test_all_modules_with_sql_are_looked_at() -> None:
    folder = Path(startup.__file__).parent
    with_sql = {
        path.stem
        for path in folder.glob("*.py")
        if re.search(r'"(SELECT|DELETE)', path.read_text())
    }
    assert with_sql - {"startup"} <= {module.__name__.rpartition(".")[2] for module in MODULES}
    assert len(ALL) > 30


@pytest.mark.parametrize(("name", "sql"), ALL, ids=[name for name, _ in ALL])
def test_rows_are_found_by_an_index(empty: Path, name: str, sql: str) -> None:
    numbered = {int(digit) for digit in re.findall(r"\?(\d)", sql)}
    count = max(numbered, default=sql.count("?"))
    with closing(connect_reader(empty)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * count).fetchall()
    scans = [step for *_, step in plan if step.startswith("SCAN") and not SMALL.match(step)]
    assert not scans or name in WHOLE
    # Sorting is of what is few already: the devices or inboxes of one user, a page, a piece.
    sorts = [step for *_, step in plan if "TEMP B-TREE FOR ORDER" in step]
    assert not sorts or name in {"devices._IDLEST", "fading._SIZES", "receipts._USERS"}, plan
