"""The tables [[keys]] of pushd.toml, and what all tables have in common."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pushd.core.permissions import ADMIN, PUBLISH, READ, check_pattern
from pushd.errors import BadRequest
from pushd.settings.kinds import BadValueError, Kind, T

SCOPES = (PUBLISH, READ, ADMIN)
ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
MIN_JWT_SECRET = 32  # bytes; RFC 7518 section 3.2 asks for as many as the hash has


@dataclass(frozen=True, slots=True)
class ApiKeyTable:
    """A service's key. ``sha256``: lower-case hex of the key's hash; the key itself is not kept."""

    name: str
    sha256: str
    scopes: tuple[str, ...]
    patterns: tuple[str, ...] = ()


def suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


class TableReader:
    """Takes typed members out of one TOML table and collects what is wrong with it."""

    def __init__(self, table: object, title: str, names: tuple[str, ...]) -> None:
        self.title = title
        self.problems: list[str] = []
        self._table: Mapping[str, object] = table if isinstance(table, dict) else {}
        if not isinstance(table, dict):
            self.wrong("must be a table")
        for name in self._table:
            if name not in names:
                self.wrong(
                    f"has no {name!r}, only {', '.join(names)}.{suggestion(name, names)}"
                    " (Settings of pushd itself stand above the first table.)"
                )

    def wrong(self, problem: str) -> None:
        self.problems.append(f"{self.title} {problem}")

    def given(self, name: str) -> object:
        return self._table.get(name)

    def text(self, name: str, *, needed: bool = False) -> str | None:
        value = self._table.get(name)
        if value is None and not needed:
            return None
        if isinstance(value, str) and value:
            return value
        self.wrong(f"needs {name} = " + '"…"')
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._table.get(name, [])
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        self.wrong(f"{name} must be a list of texts")
        return ()

    def flag(self, name: str) -> bool:
        value = self._table.get(name, False)
        if not isinstance(value, bool):
            self.wrong(f"{name} must be true or false")
        return value is True


def _read_api_key(table: object, title: str, base: Path) -> tuple[ApiKeyTable, list[str]]:
    read = TableReader(table, title, ("name", "sha256", "scopes", "patterns"))
    name = read.text("name", needed=True) or ""
    digest = (read.text("sha256", needed=True) or "").lower()
    if digest and not re.fullmatch("[0-9a-f]{64}", digest):
        read.wrong("sha256 must be 64 hex digits: printf %s THE_KEY | sha256sum")
    scopes = read.texts("scopes")
    if not scopes:
        read.wrong(f"needs scopes: some of {', '.join(SCOPES)}")
    for scope in scopes:
        if scope not in SCOPES:
            read.wrong(f"has no scope {scope!r}.{suggestion(scope, SCOPES)}")
    patterns = read.texts("patterns")
    for pattern in patterns:
        try:
            check_pattern(pattern)
        except BadRequest as error:
            read.wrong(f"pattern {pattern!r}: {error.detail}")
    return ApiKeyTable(name, digest, scopes, patterns), read.problems


class TableList(Kind[tuple[T, ...]]):
    """``[[name]]`` tables, in the order of the file. ``identity``: no two may have it alike."""

    in_text = False

    def __init__(
        self,
        name: str,
        identity: str,
        read: Callable[[object, str, Path], tuple[T, list[str]]],
        shown: str | None = None,
    ) -> None:
        self._name, self._identity, self._read = name, identity, read
        self._shown = shown or identity
        self.form = f"[[{name}]]"

    def from_toml(self, value: object, base: Path) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(f"must be tables, each headed [[{self._name}]]")  # noqa: TRY004
        items: list[T] = []
        problems: list[str] = []
        seen: set[object] = set()
        for number, table in enumerate(value, 1):
            item, wrong = self._read(table, f"[[{self._name}]] number {number}", base)
            identity = getattr(item, self._identity)
            if identity and identity in seen:
                wrong.append(f"[[{self._name}]] number {number} repeats {self._shown}")
            seen.add(identity)
            items.append(item)
            problems += wrong
        if problems:
            raise BadValueError(problems)
        return tuple(items)

    def show(self, value: tuple[T, ...]) -> str:
        return ", ".join(str(getattr(item, self._shown) or "unnamed") for item in value) or "none"

    def plain(self, value: tuple[T, ...]) -> object:
        return [getattr(item, self._shown) for item in value]


API_KEYS = TableList("keys", "name", _read_api_key)
