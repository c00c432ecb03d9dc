"""Kinds of settings: how a value is read from text or TOML, checked, and shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pushd.settings import units

T = TypeVar("T")
N = TypeVar("N", int, float)


class BadValueError(ValueError):
    """Several things are wrong with one value (a table, a list)."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Kind(Generic[T]):
    """``unit`` and ``form`` are for people. ``parse`` and ``from_toml`` raise ValueError."""

    unit = ""
    metavar = "TEXT"  # in the help of ``serve``
    form = "text"
    secret = False
    in_text = True  # can be given as a variable or an option

    def parse(self, text: str) -> T:
        raise NotImplementedError

    def from_toml(self, value: object, base: Path) -> T:
        """``base``: the directory that relative paths in this file count from."""
        if not isinstance(value, str):
            raise ValueError(f'must be in quotes, like "{self.form}"')  # noqa: TRY004
        return self.parse(value)

    def show(self, value: T) -> str:
        return str(value)

    def plain(self, value: T) -> object:
        """For JSON: numbers stay numbers (in the unit), secrets are only counted."""
        return self.show(value)


class _Number(Kind[N]):
    """A number within a range, in a unit of its own."""

    def __init__(self, low: N, high: N) -> None:
        self.low: N = low
        self.high: N = high

    def read(self, text: str) -> N:
        raise NotImplementedError

    def parse(self, text: str) -> N:
        value = self.read(text)
        if self.low <= value <= self.high:
            return value
        raise ValueError(f"{text.strip()} is out of range: {self.range}")

    def from_toml(self, value: object, base: Path) -> N:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"must be a number or a text in quotes, {self.range}")  # noqa: TRY004
        return self.parse(value if isinstance(value, str) else repr(value))

    def plain(self, value: N) -> object:
        return value

    @property
    def range(self) -> str:
        return f"{self.show(self.low)} to {self.show(self.high)}"


class Duration(_Number[float]):
    """Seconds, as a float."""

    unit, form, metavar = "s", "25s", "DURATION"

    def read(self, text: str) -> float:
        return units.parse_duration(text)

    def show(self, value: float) -> str:
        return units.show_duration(value)


class Size(_Number[int]):
    unit, form, metavar = "bytes", "64KiB", "SIZE"

    def read(self, text: str) -> int:
        return units.parse_size(text)

    def show(self, value: int) -> str:
        return units.show_size(value)


class Count(_Number[int]):
    form, metavar = "1000", "N"

    def read(self, text: str) -> int:
        return units.parse_count(text)


class OrNone(Kind[N | None]):
    """A bound, or ``none`` for no bound. Not 0: it could be taken for "keep nothing"."""

    def __init__(self, bound: _Number[N]) -> None:
        self._bound: _Number[N] = bound
        self.low: N = bound.low
        self.high: N = bound.high
        self.unit, self.form, self.metavar = bound.unit, bound.form, f"{bound.metavar}|none"

    def parse(self, text: str) -> N | None:
        return None if text.strip().lower() == "none" else self._number(self._bound.parse, text)

    def from_toml(self, value: object, base: Path) -> N | None:
        if isinstance(value, str):
            return self.parse(value)
        return self._number(lambda given: self._bound.from_toml(given, base), value)

    def _number(self, read: Callable[[Any], N], value: object) -> N:
        try:
            return read(value)
        except ValueError as error:
            raise ValueError(f'{error}, or "none"') from None

    def show(self, value: N | None) -> str:
        return "none" if value is None else self._bound.show(value)

    def plain(self, value: N | None) -> object:
        return value

    @property
    def range(self) -> str:
        return f"{self._bound.range}, or none"


class Flag(Kind[bool]):
    form = "true"
    _words: ClassVar = {
        **dict.fromkeys(("1", "true", "yes", "on"), True),
        **dict.fromkeys(("0", "false", "no", "off"), False),
    }

    def parse(self, text: str) -> bool:
        value = self._words.get(text.strip().lower())
        if value is None:
            raise ValueError(f"{text!r} is neither true nor false")
        return value

    def from_toml(self, value: object, base: Path) -> bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false, without quotes")  # noqa: TRY004
        return value

    def show(self, value: bool) -> str:
        return "true" if value else "false"

    def plain(self, value: bool) -> object:
        return value


class Choice(Kind[str]):
    def __init__(self, *words: str) -> None:
        self.words = words
        self.form, self.metavar = words[0], "|".join(words)

    def parse(self, text: str) -> str:
        word = text.strip().lower()
        if word not in self.words:
            raise ValueError(f"{text!r} is none of {', '.join(self.words)}")
        return word


class Matching(Kind[str]):
    """Text of a given form; ``rule`` says in words what the pattern wants."""

    def __init__(self, pattern: str, rule: str, form: str) -> None:
        self._pattern, self.rule, self.form = re.compile(pattern), rule, form

    def parse(self, text: str) -> str:
        if not self._pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {self.rule}")
        return text


class Secret(Kind[str | None]):
    """Never shown, neither when it is right nor when it is wrong."""

    form = "a long random text"
    secret = True

    def __init__(self, least: int) -> None:
        self.least = least

    def parse(self, text: str) -> str:
        size = len(text.encode(errors="surrogateescape"))
        if size < self.least:
            raise ValueError(f"is {size} bytes long, must have at least {self.least}")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("may hold only visible ASCII characters, no spaces")
        return text

    def show(self, value: str | None) -> str:
        return "not set" if value is None else f"set ({len(value)} characters)"

    def plain(self, value: str | None) -> object:
        return None if value is None else self.show(value)


class Directory(Kind[Path]):
    form, metavar = "./data", "DIR"

    def parse(self, text: str) -> Path:
        if not text or "\0" in text:
            raise ValueError("must name a directory")
        return Path(text).expanduser()

    def from_toml(self, value: object, base: Path) -> Path:
        return base / super().from_toml(value, base)
