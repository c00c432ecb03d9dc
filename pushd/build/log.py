"""Makes the log, from the settings of a node."""

from __future__ import annotations

from pushd.log import Log, LogOptions
from pushd.settings import Settings
from pushd.settings.namespaces import make_rules


def make_log(settings: Settings) -> Log:
    """Not open yet: that is the first thing that its ``run`` does."""
    log = Log(
        settings.data,
        LogOptions(
            min_free_bytes=settings.min_free_disk,
            backlog_bytes=settings.publish_backlog,
            batch_messages=settings.batch_messages,
            batch_bytes=settings.batch_bytes,
            write_behind_s=settings.write_behind,
            idempotency_s=settings.idempotency,
            retention_interval_s=settings.retention_interval,
            active_s=settings.cursor_active,
            listen=str(settings.listen),
        ),
    )
    log.retention = make_rules(settings.retention, settings.namespaces).retention
    return log
