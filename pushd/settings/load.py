"""Puts the settings together: defaults < pushd.toml < PUSHD_… variables < options."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pushd.errors import BadSetting
from pushd.settings.kinds import BadValueError
from pushd.settings.model import Settings, by_name, contradictions
from pushd.settings.tables import suggestion

DEFAULT_FILE = Path("pushd.toml")
FILE_VARIABLE = "PUSHD_CONFIG"
# Read by the client commands and by tests; they are no settings of the server.
OTHER_VARIABLES = frozenset(
    {FILE_VARIABLE, "PUSHD_URL", "PUSHD_TOKEN", "PUSHD_CHAT_DATA", "PUSHD_WORKER"}
)
# Kubernetes sets these in every container beside a Service that is called "pushd".
_KUBERNETES = re.compile(r"PUSHD_(SERVICE_(HOST|PORT)|PORT)(_.*)?")


@dataclass(frozen=True, slots=True)
class Loaded:
    """``sources``: "default", "pushd.toml:3", a variable or an option, by setting name."""

    settings: Settings
    sources: Mapping[str, str]
    file: Path | None


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Loaded:
    """Everything that is wrong is reported together. Raises BadSetting.

    ``file``: the one to read; without it PUSHD_CONFIG names one, else ./pushd.toml if there is one.
    ``options``: texts by setting name, from the command line.
    """
    environ = os.environ if environ is None else environ
    loading = _Loading()
    path = _find_file(file, environ)
    if path is not None:
        loading.read_file(path)
    loading.read_environment(environ)
    loading.read_options(options or {})
    settings = Settings(**loading.values)
    for name, other, problem in contradictions(settings):
        if not loading.failed & {name, other}:
            source = loading.sources.get(name) or loading.sources.get(other, "default")
            loading.wrong(source, f"{name}: {problem}")
    if loading.problems:
        raise _bad_setting(loading.problems)
    sources = {name: loading.sources.get(name, "default") for name in by_name()}
    return Loaded(settings, sources, path)


def _find_file(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    """A file that somebody named must exist; the default one need not."""
    if file is None and environ.get(FILE_VARIABLE):
        file = Path(environ[FILE_VARIABLE])
    if file is not None:
        return file
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _bad_setting(problems: list[str]) -> BadSetting:
    if len(problems) == 1:
        return BadSetting(problems[0], extra={"problems": problems})
    lines = "".join(f"\n  {problem}" for problem in problems)
    return BadSetting(f"{len(problems)} settings are wrong:{lines}", extra={"problems": problems})


class _Loading:
    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        self.failed: set[str] = set()
        self._declared = by_name()

    def wrong(self, source: str, problem: str) -> None:
        self.problems.append(f"{source}: {problem}")

    def read_file(self, path: Path) -> None:
        try:
            text = path.read_text("utf-8")
            table = tomllib.loads(text)
        except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
            self.wrong(str(path), getattr(error, "strerror", None) or str(error))
            return
        for name, value in table.items():
            source = f"{path}{_line(text, name)}"
            declared = self._declared.get(name)
            if declared is None:
                self.wrong(source, f"no setting {name!r}.{suggestion(name, self._declared)}")
                continue
            try:
                self._take(name, declared.kind.from_toml(value, path.parent), source)
            except ValueError as error:
                self._wrong_value(source, name, error)

    def read_environment(self, environ: Mapping[str, str]) -> None:
        variables = {d.variable: d for d in self._declared.values() if d.variable is not None}
        for variable, text in sorted(environ.items()):
            if not variable.startswith("PUSHD_") or variable in OTHER_VARIABLES:
                continue
            if variable in variables:
                self._read_text(variables[variable].name, text, variable)
            elif not _KUBERNETES.fullmatch(variable):
                known = [*variables, *OTHER_VARIABLES]
                self.wrong(variable, f"no such setting.{suggestion(variable, known)}")

    def read_options(self, options: Mapping[str, str]) -> None:
        for name, text in options.items():
            self._read_text(name, text, self._declared[name].option or name)

    def _read_text(self, name: str, text: str, source: str) -> None:
        try:
            self._take(name, self._declared[name].kind.parse(text), source)
        except ValueError as error:
            self._wrong_value(source, name, error)

    def _take(self, name: str, value: object, source: str) -> None:
        self.values[name], self.sources[name] = value, source

    def _wrong_value(self, source: str, name: str, error: ValueError) -> None:
        self.failed.add(name)
        for problem in error.problems if isinstance(error, BadValueError) else [str(error)]:
            self.wrong(source, f"{name}: {problem}")


def _line(text: str, name: str) -> str:
    """The line that sets ``name``, as ":N". tomllib keeps no positions; line starts will do."""
    word = re.escape(name)
    found = re.search(
        rf"(?m)^[ \t]*(?:(['\"]?){word}\1[ \t]*[=.]|\[+[ \t]*{word}[ \t]*[\].])", text
    )
    return f":{text.count(chr(10), 0, found.start()) + 1}" if found else ""
