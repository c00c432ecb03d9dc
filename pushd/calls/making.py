"""Makes what asks the application, from the settings."""

from __future__ import annotations

from pushd.access import Access
from pushd.calls.loading import load_handlers
from pushd.calls.publishing import Publishing
from pushd.calls.service import CallOptions, Calls
from pushd.log import Log
from pushd.metrics import Counters
from pushd.outbound import Endpoint, keys_of
from pushd.publish import Publisher
from pushd.settings import Settings
from pushd.settings.application import is_open_to_readers


def webhook_weakness(settings: Settings) -> str | None:
    """What to tell whoever has set the address."""
    url = settings.webhook_url
    if url is None or not is_open_to_readers(url):
        return None
    return "webhook_url is plain http: what is posted there can be read on its way"


def make_webhook(settings: Settings, counters: Counters) -> Endpoint | None:
    """The application's webhook, if it has one."""
    if settings.webhook_url is None or settings.webhook_secret is None:
        return None
    return Endpoint(
        "webhook",
        settings.webhook_url,
        keys_of(settings.webhook_secret),
        counters,
        attempt_s=settings.webhook_timeout,
        max_connections=settings.webhook_connections,
        max_answer=settings.max_publish_body,
    )


def make_calls(
    settings: Settings,
    webhook: Endpoint | None,
    publisher: Publisher,
    access: Access,
    log: Log,
    counters: Counters,
) -> Calls:
    """Raises CannotStart when the module with the handlers cannot be had."""
    options = CallOptions(
        settings.call_timeout, settings.max_calls, settings.max_calls_per_user, settings.max_body
    )
    handlers = load_handlers(settings.handlers)
    return Calls(handlers, webhook, Publishing(publisher, access, log, counters), counters, options)
