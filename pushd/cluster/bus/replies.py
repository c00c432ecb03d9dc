"""What Redis answers, within a bound: who can write there could fill the memory of all nodes."""

from __future__ import annotations

from typing import Any, Final

from redis._parsers import _RESP2Parser
from redis._parsers.socket import SocketBuffer
from redis.connection import ConnectionInterface
from redis.exceptions import ConnectionError as RedisConnectionError

# Bytes of one answer, and of what has come and was not looked at. What nodes write is far below.
MOST: Final = 32 * 1024 * 1024


class BoundedParser(_RESP2Parser):
    """redis-py's own. More than the bound is a broken connection: the node is as without Redis."""

    def on_connect(self, connection: ConnectionInterface) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        buffer: Any = self._buffer
        self._buffer = _Buffer(buffer._sock, buffer.socket_read_size, buffer.socket_timeout)


class _Buffer(SocketBuffer):
    def read(self, length: int, *args: Any, **named: Any) -> bytes:
        if self._buffer.tell() + length > MOST:
            raise RedisConnectionError(f"Redis answers with more than {MOST} bytes.")
        return super().read(length, *args, **named)
