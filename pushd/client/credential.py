"""The key or token that requests carry; a function gives new tokens before the old one expires."""

from __future__ import annotations

import base64
import binascii
import math
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import trio

from pushd.client.problems import NoToken
from pushd.errors import BadSetting, PushdError

TokenFunction = Callable[[], Awaitable[str]]

# RFC 6750 allows less, API keys may be anything that fits into a header unquoted.
_FITS = re.compile(r"[!-~]+", re.ASCII)
# A token is renewed this long before it expires, or in the last fifth of a short life.
_MARGIN_S: Final = 60.0
_MARGIN_SHARE: Final = 0.2
_AGAIN_S: Final = 5.0
_FUNCTION_S: Final = 30.0


class Credential:
    """What goes out as ``Authorization: Bearer``. Shared by all requests of one client."""

    def __init__(
        self, given: str | TokenFunction | None, *, now: Callable[[], float] = time.time
    ) -> None:
        """``given``: a key or token, or an async function that gives a token. ``now``: for tests.

        Raises BadSetting for a text that fits into no header.
        """
        self._function = None if given is None or isinstance(given, str) else given
        self._now = now
        self._lock = trio.Lock()
        self._token = check_credential(given) if isinstance(given, str) else None
        # On Trio's clock; that a laptop slept is noticed by the server's refusal.
        self._due = self._ends = math.inf

    @property
    def renewable(self) -> bool:
        """Whether another token can be had when this one is refused."""
        return self._function is not None

    @property
    def current(self) -> str | None:
        """The newest one, if there is one."""
        return self._token

    async def token(self) -> str | None:
        """The token to send now, from the function when there is none or it expires soon.

        When the function fails while the old one holds, that one is sent on; afterwards raises
        NoToken. Raises at once what PushdError the function raises itself.
        """
        if self._function is None:
            return self._token
        # Whoever comes while it is being fetched waits for that one.
        async with self._lock:
            if self._token is None or trio.current_time() >= self._due:
                try:
                    self._keep(await _ask(self._function))
                except NoToken:
                    if self._token is None or trio.current_time() >= self._ends:
                        raise
                    # The old one still holds: asked again a little later, also by requests.
                    self._due = trio.current_time() + _AGAIN_S
            return self._token

    async def headers(self) -> dict[str, str]:
        """What a request carries. Raises as ``token``."""
        token = await self.token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def refused(self, token: str | None) -> bool:
        """The server refuses ``token``: True when it is worth trying with another one."""
        if self._function is None:
            return False
        if token == self._token:
            self._token = None
        return True

    def refuse_current(self) -> bool:
        """``refused`` for the newest one."""
        return self.refused(self._token)

    def renew_in(self) -> float:
        """Seconds until a live session should get another token; infinite when never."""
        return self._due - trio.current_time() if self._function is not None else math.inf

    def _keep(self, token: str) -> None:
        self._token = check_credential(token)
        left = (expiry_of(token) or math.inf) - self._now()
        # Expired by our clock: one of the two clocks is wrong, and the server's decides.
        if not 0 < left < math.inf:
            self._due = self._ends = math.inf
            return
        self._ends = trio.current_time() + left
        self._due = self._ends - min(_MARGIN_S, left * _MARGIN_SHARE)


async def _ask(function: TokenFunction) -> str:
    try:
        with trio.move_on_after(_FUNCTION_S):
            return await function()
    except PushdError:
        raise
    except Exception as cause:
        raise NoToken(f"The token function failed: {type(cause).__name__}: {cause}") from cause
    raise NoToken(f"The token function took longer than {_FUNCTION_S:g} s.")


def check_credential(text: str) -> str:
    """Checked here because the libraries below would show it in their message."""
    if not isinstance(text, str) or _FITS.fullmatch(text) is None:
        raise BadSetting("The key or token is empty or has characters that no header can hold.")
    return text


def expiry_of(token: str) -> float | None:
    """``exp`` of a JWT in Unix seconds, unverified; None when it has none or is no JWT."""
    exp = claims_of(token).get("exp")
    return float(exp) if isinstance(exp, int | float) else None


def claims_of(token: str) -> dict[str, Any]:
    """What a JWT claims, unverified; nothing for what is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = msgspec.json.decode(
            base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        )
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
