"""Who may import whom, held by a test; and what no file of the repository may name.

Read the tables first: they are the rules. A new module of ``pushd`` has to be put into LAYERS.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

# Lower ones know nothing of higher ones; units of one layer may know each other, without cycles.
# A unit is a package or a module directly under pushd/.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"core", "settings", "logs", "metrics", "limits", "worker"}) | frozenset({"groups"}),
    frozenset({"log", "tails", "inboxes", "outgoing", "kept", "allowance", "handover", "turns"})
    | frozenset({"pace"})
    | frozenset({"busy", "fanout", "notices", "session", "happenings", "rates", "sight", "nodes"})
    | frozenset({"places", "heads", "answers", "catchup"})
    | frozenset({"nodetokens"})
    | frozenset({"tokens", "keysets", "outbound", "fetch", "keysource", "revocations"}),
    frozenset({"access", "publish", "polls", "pull", "multianswer", "sessions", "marking", "auth"})
    | frozenset({"audience", "sessionchannels", "hook", "deliveries"})
    | frozenset({"membership"})
    | frozenset({"enforcer", "handlers", "calls", "telling", "application"})
    | frozenset({"poller", "pollers", "presence", "rooms", "announcer"}),
    frozenset({"hub"}),
    frozenset({"live", "front", "ws", "sse", "web", "reaper", "cluster"}),
    frozenset({"build", "shutdown", "reload", "server", "demo", "workers", "joining"}),
    frozenset({"cli", "testing"}),
)

# Beside the layers: units that may know only these (and themselves).
ONLY_KNOWS: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "core": frozenset({"errors"}),
    "settings": frozenset({"errors", "core"}),
    "client": frozenset({"errors", "core"}),
}

# Outside packages that only these units may import.
ONLY_KNOWN_BY: dict[str, frozenset[str]] = {
    "sqlite3": frozenset({"log"}),
    "sqlite_utils": frozenset({"log"}),
    "migrations": frozenset({"log"}),
    "trio_websocket": frozenset({"ws", "client"}),
    "wsproto": frozenset({"ws", "client"}),
    "quart": frozenset({"web"}),
    "quart_trio": frozenset({"web"}),
    "hypercorn": frozenset({"web"}),
    "redis": frozenset({"cluster"}),
    "httptools": frozenset({"front", "cluster"}),
    "httpx": frozenset({"client"}),
    "jwt": frozenset({"keysets"}),
    "cryptography": frozenset({"keysets"}),
    "h11": frozenset({"outbound", "client"}),
    "prometheus_client": frozenset({"metrics"}),
    "click": frozenset({"cli"}),
    "rich": frozenset({"cli"}),
}

# core computes: bytes, numbers and the time come in as arguments. All that it may import:
CORE_MAY_IMPORT = {
    *("__future__", "bisect", "collections", "dataclasses", "enum", "functools", "heapq"),
    *("itertools", "json", "math", "msgspec", "operator", "re", "typing", "unicodedata"),
    "urllib",  # its parse
}

# Hosts of package registries (split, so that this file passes its own test), and paths of the
# machine that this was written on: neither belongs into a file that others get.
FORBIDDEN_TEXT = {
    "a package registry's host": re.compile(
        "|".join(
            re.escape(".".join(parts))
            for parts in (
                ("pypi", "org"),
                ("pythonhosted", "org"),
                ("npmjs", "org"),
                ("npmjs", "com"),
                ("yarnpkg", "com"),
                ("crates", "io"),
                ("golang", "org"),
                ("rubygems", "org"),
            )
        ),
        re.IGNORECASE,
    ),
    "an absolute path of the build machine": re.compile(r"(?<![\w.~-])/" + r"work(?![\w-])"),
}

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pushd"


class Import(NamedTuple):
    where: str  # file:line
    unit: str  # that imports: "core", "log", …
    module: str  # that is imported: "pushd.core.names", "trio"

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    @property
    def imported_unit(self) -> str | None:
        """The unit of pushd that is imported; None for packages of others and pushd itself."""
        parts = self.module.split(".")
        return parts[1] if parts[0] == "pushd" and len(parts) > 1 else None


def imports_of(path: Path) -> Iterator[Import]:
    """All, also those within functions and for type checkers only."""
    relative = path.relative_to(PACKAGE)
    unit = relative.parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative}:{node.lineno}: relative imports hide the layer"
            module = node.module or ""
            names = [module]
            if module == "pushd":  # "from pushd import logs" names a unit, or __version__
                names = [f"pushd.{a.name}" for a in node.names if not a.name.startswith("__")]
        for name in names:
            yield Import(f"{relative}:{getattr(node, 'lineno', 0)}", unit, name)


FILES = sorted(PACKAGE.rglob("*.py"))
IMPORTS = [item for path in FILES for item in imports_of(path)]
UNITS = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
UNITS -= {"__init__", "__main__"}
INNER = [item for item in IMPORTS if item.imported_unit and item.unit in UNITS]


PLACED = [unit for units in LAYERS for unit in units] + ["client"]


def layer_of(unit: str) -> int:
    # a new unit is reported once, by the test for that
    return next((number for number, units in enumerate(LAYERS) if unit in units), len(LAYERS))


def test_every_unit_has_its_place() -> None:
    assert len(PLACED) == len(set(PLACED))
    assert UNITS - set(PLACED) == set(), "put the new unit into LAYERS"


def test_imports_run_one_way() -> None:
    wrong = [
        item
        for item in INNER
        if item.unit not in ONLY_KNOWS
        and item.imported_unit != "client"
        and item.imported_unit in PLACED
        and layer_of(item.imported_unit or "") > layer_of(item.unit)
    ]
    assert wrong == []


def test_units_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for item in INNER:
        if item.imported_unit != item.unit:
            graph.setdefault(item.unit, set()).add(item.imported_unit or "")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("unit", sorted(ONLY_KNOWS))
def test_a_unit_knows_no_more_than_it_may(unit: str) -> None:
    may = ONLY_KNOWS[unit] | {unit}
    assert [i for i in INNER if i.unit == unit and i.imported_unit not in may] == []


def test_only_the_command_line_and_tests_know_the_client() -> None:
    users = {item.unit for item in INNER if item.imported_unit == "client"}
    assert users <= {"client", "cli", "testing"}


@pytest.mark.parametrize("package", sorted(ONLY_KNOWN_BY))
def test_a_package_is_known_only_where_it_may_be(package: str) -> None:
    may = ONLY_KNOWN_BY[package]
    assert [item for item in IMPORTS if item.top == package and item.unit not in may] == []


def test_core_does_no_io_and_has_no_clock() -> None:
    may = CORE_MAY_IMPORT | {"pushd"}
    assert [item for item in IMPORTS if item.unit == "core" and item.top not in may] == []


# What the repository may not contain


def repository_files() -> list[Path]:
    """Tracked files and those about to be; in an unpacked archive all but what tools leave."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        files = [p for p in ROOT.rglob("*") if not p.relative_to(ROOT).parts[0].startswith(".venv")]
    return [path for path in files if path.is_file()]


@pytest.mark.parametrize("what", sorted(FORBIDDEN_TEXT))
def test_no_file_names(what: str) -> None:
    pattern = FORBIDDEN_TEXT[what]
    files = repository_files()
    assert Path(__file__) in files
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in files
        if (match := pattern.search(path.read_bytes().decode("latin-1")))
    ]
    assert found == [], what
