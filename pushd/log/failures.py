"""What an error of SQLite means for those who wait for an answer."""

from __future__ import annotations

import sqlite3
from typing import Final

from pushd.errors import Overloaded, PushdError, StorageBroken, StorageFull

CURE_OF_DAMAGE: Final = (
    "'pushctl verify' says how much is damaged. Restore a backup that is sound: 'pushctl restore"
    " FILE' keeps what is there aside. Have an eye on the disk."
)


def full() -> StorageFull:
    """The refusal of an append while the disk is full, or nearly."""
    return StorageFull("The disk that holds the log is full, or nearly.")


def is_passing(error: Exception) -> bool:
    """Nothing was stored for certain, and a later try may succeed."""
    return not isinstance(refusal(error), StorageBroken)


def is_damage(error: Exception) -> bool:
    """SQLite found pages that cannot be; nothing was said of the disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def unreadable(error: Exception) -> StorageBroken:
    """Damage that one request met, and nothing was changed."""
    return StorageBroken(f"The log is damaged there ({error}).", cure=CURE_OF_DAMAGE)


def refusal(error: Exception) -> PushdError:
    """StorageBroken unless it is known that nothing was stored and a later try may succeed.

    Disk full: the commit record is the last thing written, so without space there is none.
    Busy: another program held the file, so the transaction never began.
    (Only the -shm file is told otherwise: no space there is an IOERR, after the commit record.)
    Whatever else a write or a sync says, the state of the disk is unknown: it is not retried.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return full()
    if code == sqlite3.SQLITE_BUSY:
        return Overloaded("Another program holds the database.", retry_after=1)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if is_damage(error):
        detail = f"The log is damaged ({name}: {error}). What was under way is unknown."
        return StorageBroken(detail, cure=CURE_OF_DAMAGE)
    return StorageBroken(
        f"The log cannot be written ({name}: {error}). What was under way is unknown."
    )
