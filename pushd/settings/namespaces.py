"""The tables [namespaces.NAME], and the rules that they and the plain settings make together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pushd.core.namespaces import (
    DAY,
    EPHEMERAL_AGE_S,
    INBOX_AGE_S,
    PUBLISH_RULES,
    Hold,
    Namespaces,
    PublishRule,
    Retention,
    Rules,
)
from pushd.settings.kinds import BadValueError, Count, Duration, Kind, OrNone, Size
from pushd.settings.tables import TableReader

# Who reads and publishes there is fixed, not how long it is kept.
RESERVED: Final = ("user", "group", "all")
WITHOUT_RULES: Final = ("session",)
# Everybody follows these two, or one: there is nobody to tell.
WITHOUT_PRESENCE: Final = ("user", "all")

RETENTION_AGE: Final = OrNone(Duration(0.1, 36_500 * DAY))
RETENTION_MESSAGES: Final = OrNone(Count(1, 10**12))
RETENTION_BYTES: Final = OrNone(Size(1, 1 << 50))
PULLS: Final = Count(1, 10_000_000)

# The names in the file, and those in Retention.
_BOUNDS: Final[Mapping[str, tuple[str, Kind[Any]]]] = {
    "retention_age": ("age_s", RETENTION_AGE),
    "retention_messages": ("messages", RETENTION_MESSAGES),
    "retention_bytes": ("bytes", RETENTION_BYTES),
}
_HOLDS: Final[Mapping[str, tuple[str, Kind[Any]]]] = {
    "hold_age": ("age_s", Duration(0.1, 36_500 * DAY)),
    "hold_messages": ("messages", RETENTION_MESSAGES),
    "hold_bytes": ("bytes", RETENTION_BYTES),
}
# Where only hold_age is set, so many times as much as is kept in any case.
HOLD_TIMES: Final = 10
_OPEN: Final = ("public", "ephemeral", "publish")
_NAMES: Final = (*_OPEN, *_BOUNDS, *_HOLDS, "pulls_per_second", "presence", "webhook")


@dataclass(frozen=True, slots=True)
class Namespace:
    """``retention``, ``hold``: only the bounds that are set here, by their names there."""

    public: bool = False
    ephemeral: bool = False
    publish: PublishRule = "granted"
    retention: Mapping[str, Any] = field(default_factory=dict)
    hold: Mapping[str, Any] = field(default_factory=dict)
    pulls_per_second: int | None = None
    presence: bool = False
    webhook: bool = False


def make_rules(default: Retention, tables: Mapping[str, Namespace]) -> Namespaces:
    """The rules of every channel. Inboxes keep 90 days, or what all keep if that is longer."""
    age = default.age_s
    inbox = default._replace(age_s=None if age is None else max(age, INBOX_AGE_S))
    rules = {"user": Rules(retention=inbox)}
    for name, table in tables.items():
        base = inbox if name == "user" else default
        if table.ephemeral:
            base = base._replace(age_s=EPHEMERAL_AGE_S, last=0.0)
        rules[name] = Rules(
            table.public,
            table.ephemeral,
            table.publish,
            _with_hold(base._replace(**table.retention), table.hold),
            table.pulls_per_second,
            table.presence,
            table.webhook,
        )
    return Namespaces(Rules(retention=default), rules)


def _with_hold(keep: Retention, given: Mapping[str, Any]) -> Retention:
    if not given:
        return keep
    messages = None if keep.messages is None else keep.messages * HOLD_TIMES
    bytes_ = None if keep.bytes is None else keep.bytes * HOLD_TIMES
    return keep._replace(hold=Hold(0.0, messages, bytes_)._replace(**given))


def impossible_holds(default: Retention, tables: Mapping[str, Namespace]) -> list[str]:
    """Bounds of a hold that what is kept in any case reaches beyond."""
    rules = make_rules(default, tables)
    found = []
    for name, table in tables.items():
        keep = rules.of(name).retention
        for setting, (bound, kind) in _HOLDS.items():
            hard, usual = getattr(keep.hold, bound, None), getattr(keep, bound)
            if bound in table.hold and hard is not None and usual is not None and hard <= usual:
                found.append(
                    f"[namespaces.{name}]: {setting} {kind.show(hard)} is not more than what is"
                    f" kept in any case ({kind.show(usual)})"
                )
    return found


def _read(name: str, table: object, base: Path) -> tuple[Namespace, list[str]]:
    read = TableReader(table, f"[namespaces.{name}]", _NAMES)
    if not name or re.search(r"[:*,/?\s]", name):
        read.wrong("is no namespace: the part before the first ':'")
    elif name in WITHOUT_RULES or name.startswith("$"):
        read.wrong("is reserved: its rules are fixed")
    elif name in RESERVED and any(read.given(each) is not None for each in _OPEN):
        read.wrong("is reserved: it may set retention_…, hold_…, pulls_per_second and webhook only")
    elif name in WITHOUT_PRESENCE and read.given("presence") is not None:
        read.wrong("is reserved: it has no presence; a group may")
    publish = read.text("publish") or "granted"
    if publish not in PUBLISH_RULES:
        read.wrong(f"publish must be one of {', '.join(PUBLISH_RULES)}")
    retention, hold = (
        {
            bound: _value(read, setting, kind, base)
            for setting, (bound, kind) in names.items()
            if read.given(setting) is not None
        }
        for names in (_BOUNDS, _HOLDS)
    )
    if hold and "age_s" not in hold:
        read.wrong("holds nothing without hold_age: say how old it may get")
    ephemeral = read.flag("ephemeral")
    if ephemeral and hold:
        read.wrong("is ephemeral: whoever comes late misses nothing, so nothing is held")
    if ephemeral and "age_s" in retention:
        read.wrong("is ephemeral, which means one minute: leave retention_age out")
    pulls = None
    if read.given("pulls_per_second") is not None:
        pulls = _value(read, "pulls_per_second", PULLS, base)
    rule: PublishRule = publish if publish in PUBLISH_RULES else "granted"
    public, presence, webhook = map(read.flag, ("public", "presence", "webhook"))
    namespace = Namespace(public, ephemeral, rule, retention, hold, pulls, presence, webhook)
    return namespace, read.problems


def _value(read: TableReader, name: str, kind: Kind[Any], base: Path) -> Any:
    try:
        return kind.from_toml(read.given(name), base)
    except ValueError as error:
        read.wrong(f"{name}: {error}")
        return None


class NamespaceTables(Kind[Mapping[str, Namespace]]):
    form = "[namespaces.NAME]"
    in_text = False

    def from_toml(self, value: object, base: Path) -> Mapping[str, Namespace]:
        if not isinstance(value, dict):
            raise ValueError("must be tables, each headed [namespaces.NAME]")  # noqa: TRY004
        found: dict[str, Namespace] = {}
        problems: list[str] = []
        for name, table in value.items():
            found[name], wrong = _read(name, table, base)
            problems += wrong
        if problems:
            raise BadValueError(problems)
        return found

    def show(self, value: Mapping[str, Namespace]) -> str:
        return ", ".join(map(_shown, value.items())) or "none"

    def plain(self, value: Mapping[str, Namespace]) -> object:
        return {name: dict(_members(table)) for name, table in value.items()}


def _bounds(table: Namespace) -> Iterator[tuple[str, Kind[Any], Any]]:
    for names, given in ((_BOUNDS, table.retention), (_HOLDS, table.hold)):
        for setting, (bound, kind) in names.items():
            if bound in given:
                yield setting, kind, given[bound]


def _members(table: Namespace) -> list[tuple[str, object]]:
    """What a table says, by the names that it has in the file; numbers in their units."""
    members: list[tuple[str, object]] = [("public", table.public)]
    if table.ephemeral:
        members.append(("ephemeral", True))
    if table.publish != "granted":
        members.append(("publish", table.publish))
    members += [(setting, kind.plain(value)) for setting, kind, value in _bounds(table)]
    if table.pulls_per_second is not None:
        members.append(("pulls_per_second", table.pulls_per_second))
    if table.presence:
        members.append(("presence", True))
    if table.webhook:
        members.append(("webhook", True))
    return members


def _shown(item: tuple[str, Namespace]) -> str:
    name, table = item
    words = [name for name, on in (("public", table.public), ("ephemeral", table.ephemeral)) if on]
    if table.publish != "granted":
        words.append(f"publish {table.publish}")
    words += [f"{setting} {kind.show(value)}" for setting, kind, value in _bounds(table)]
    if table.pulls_per_second is not None:
        words.append(f"pulls_per_second {table.pulls_per_second}")
    if table.presence:
        words.append("presence")
    if table.webhook:
        words.append("webhook")
    return f"{name} ({', '.join(words)})" if words else name


NAMESPACES = NamespaceTables()
