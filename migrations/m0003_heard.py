"""When a device was last heard of in a channel, by the clock that nobody can set."""

from __future__ import annotations

from sqlite_utils import Database

from migrations.registry import MIGRATIONS

# heard: ms of the steady clock (as used_at of ids). at: ms since 1970. Both are of the last time
# that the mark was recorded, risen or not; of those that did not rise only now and then.
# No index has them, nor seq: each mark that rises would have to be written there as well.


@MIGRATIONS(name="0003_heard")
def heard(db: Database, /) -> None:
    db.execute("ALTER TABLE cursors ADD COLUMN heard INTEGER NOT NULL DEFAULT 0")
    # Near enough: the steady clock began with the wall clock.
    db.execute("UPDATE cursors SET heard = at")
