"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Generic, TypeVar

import msgspec

from pushd.client.answers import decode
from pushd.client.http import Http

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """``next`` asks for the page that follows."""

    items: list[T]
    next: str | None = None


class Pages(Generic[T]):
    """``async for item in …`` asks for page after page; ``await ….all()`` has them in a list.

    What changes meanwhile may be in it or not. Raises what the server refuses.
    """

    def __init__(
        self, http: Http, path: str, params: Mapping[str, str | int], item: type[T]
    ) -> None:
        self._http, self._path, self._params = http, path, params
        self._form: type[Page[T]] = Page[item]  # type: ignore[valid-type]

    async def __aiter__(self) -> AsyncIterator[T]:
        params = dict(self._params)
        while True:
            page = decode(await self._http.get(self._path, params), self._form)
            for item in page.items:
                yield item
            if page.next is None:
                return
            params["next"] = page.next

    async def all(self) -> list[T]:
        """Every item."""
        return [item async for item in self]
