"""Calls: what clients ask of the application, answered by a Python handler or by its webhook.

``service`` owns the calls under way; ``python`` and ``webhook`` answer one each; ``publishing``
stores what an answer wants published; ``loading`` imports the module with the handlers.
"""

from pushd.calls.loading import load_handlers
from pushd.calls.making import make_calls, make_webhook, webhook_weakness
from pushd.calls.service import Calls

__all__ = ["Calls", "load_handlers", "make_calls", "make_webhook", "webhook_weakness"]
