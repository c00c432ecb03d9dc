"""Requests that pushd sends to the application: signed, bounded, retried, and given up on in time.

From the outside in; whoever asks the application something makes one ``Endpoint`` per address:

    endpoint = Endpoint("webhook", url, keys, counters)     # keys: keys_of(secret) (Signer)
    await services.start(endpoint.run)                      # keeps idle connections, closes them
    answer = await endpoint.post(body, id_=new_id(), within_s=5.0)
    answer.status, answer.body                              # any status below 500 but 429
    endpoint.state()                                        # for GET /v1/stats

``post`` raises ``NoAnswer`` (``reason``, for logs and operators) when no usable answer came in
time, and its kind ``CircuitOpen`` (``retry_after_s``) when it did not even try, because the last
attempts all failed. A status of 500 and more, and 429, is none: it is tried again. Every try
carries the same ``webhook-id``, so that the application knows a repetition. What is in the body and
in an answer is the caller's; an answer has at most ``max_answer`` bytes.

``envelope(type, data)`` makes the usual body, ``{"type", "timestamp", "data"}``.

``endpoint`` retries and signs; ``breaker`` decides when to stop trying (no clock of its own);
``client`` keeps connections; ``wire`` is one HTTP/1.1 connection: no redirect, no proxy and no
credential from the environment, no cookie, nothing unpacked; ``signing`` is the Standard Webhooks
form.
"""

from pushd.outbound.breaker import Breaker
from pushd.outbound.client import HttpClient
from pushd.outbound.endpoint import CircuitOpen, Endpoint
from pushd.outbound.signing import Signer, envelope, keys_of, new_id
from pushd.outbound.wire import Answer, NoAnswer

__all__ = [
    "Answer",
    "Breaker",
    "CircuitOpen",
    "Endpoint",
    "HttpClient",
    "NoAnswer",
    "Signer",
    "envelope",
    "keys_of",
    "new_id",
]
