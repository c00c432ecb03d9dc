"""Damaging what is right: valid inputs, edited a little, reach deeper than noise does."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


class Mutator:
    """The same ``seed`` makes the same inputs."""

    def __init__(self, seed: int, corpus: Sequence[bytes], tokens: Sequence[bytes]) -> None:
        self.random = random.Random(seed)
        self._corpus = corpus
        self._tokens = tokens

    def inputs(self, count: int, most_edits: int = 4) -> Iterator[bytes]:
        for _ in range(count):
            data = self.random.choice(self._corpus)
            for _ in range(self.random.randint(0, most_edits)):
                data = self._edit(data)
            yield data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """In as many pieces as may be, mostly few."""
        at = 0
        while at < len(data):
            size = self.random.choice((1, 2, 3, 7, 20, 100, len(data)))
            yield data[at : at + size]
            at += size

    def _edit(self, data: bytes) -> bytes:
        choose = self.random
        at = choose.randint(0, len(data))
        end = min(len(data), at + choose.choice((0, 1, 1, 2, 4, 10, 40)))
        way = choose.randrange(8)
        if way == 0:
            return data[:at] + choose.randbytes(1) + data[at + 1 :]
        if way == 1:
            return data[:at] + data[end:]
        if way == 2:
            return data[:end] + data[at:end] * choose.randint(1, 3) + data[end:]
        if way == 3:
            return data[:at]
        if way == 4:
            other = choose.choice(self._corpus)
            return data[:at] + other[choose.randint(0, len(other)) :]
        if way == 5 and at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << choose.randrange(8)]) + data[at + 1 :]
        return data[:at] + choose.choice(self._tokens) + data[end:]
