"""What kind of database this is: ours or not, of which format, with which migrations to come."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from sqlite_utils import Database

from migrations import MIGRATIONS
from pushd.errors import NotALog
from pushd.log.startup import APPLICATION_ID, FORMAT, known_migrations

_ADDED: Final = (
    "SELECT group_concat(quote(name), ', ') FROM sqlite_master WHERE type IN ('trigger', 'view')"
)


@dataclass(frozen=True, slots=True)
class Form:
    """``pending``: migrations that this version would apply, in their order."""

    format: str
    applied: tuple[str, ...]
    pending: tuple[str, ...]


def look(connection: sqlite3.Connection, name: str) -> Form:
    """Raises NotALog for what is not ours, and for what this version does not know."""
    if value(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise NotALog(f"{name} is a database of another program, or an empty one.")
    added = value(connection, _ADDED)
    if added is not None:
        # Restored, they would act on every message that is stored.
        raise NotALog(f"{name} has triggers or views, which no pushd has made: {added}.")
    database = Database(connection, execute_plugins=False)
    applied = tuple(each.name for each in MIGRATIONS.applied(database))
    pending = tuple(each.name for each in MIGRATIONS.pending(database))
    form = str(meta(connection, "format")) if applied else FORMAT
    unknown = sorted(set(applied) - known_migrations())
    if form != FORMAT or unknown:
        older = form.isdecimal() and int(form) < int(FORMAT)
        by = "a preview of pushd, which is not read any more" if older else "a newer pushd"
        raise NotALog(
            f"{name} was written by {by} (format {form}; this version reads {FORMAT};"
            f" migrations unknown to it: {', '.join(unknown) or 'none'})."
        )
    return Form(form, applied, pending)


def apply_pending(connection: sqlite3.Connection) -> None:
    """Each in a transaction of its own."""
    MIGRATIONS.apply(Database(connection, execute_plugins=False))


def value(connection: sqlite3.Connection, sql: str, *parameters: object) -> object:
    """The first column of the first row, or None."""
    row = connection.execute(sql, parameters).fetchone()
    return None if row is None else row[0]


def number(connection: sqlite3.Connection, sql: str, *parameters: object) -> int:
    """The same for what is a number; NULL and no row are 0."""
    found = value(connection, sql, *parameters)
    return found if isinstance(found, int) else 0


def meta(connection: sqlite3.Connection, key: str) -> str | None:
    """What the log notes of itself under this key, or None."""
    found = value(connection, "SELECT value FROM meta WHERE key = ?", key)
    return None if found is None else str(found)
