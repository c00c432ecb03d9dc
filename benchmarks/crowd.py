"""Tens of thousands of WebSockets of many users, held by one thread: hears hints, answers closes.

Several source addresses, so that no port is needed twice.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import jwt

from benchmarks.generator import BenchmarkError

IN_FLIGHT = 128  # handshakes under way
PORTS = 5_000  # connections from one source address
CLOSE, PING, PONG = 0x88, 0x89, 0x8A
READ = 16384


class Member:
    """One WebSocket."""

    __slots__ = ("buffer", "greeted", "request", "sock", "upgraded", "who")

    def __init__(self, sock: socket.socket, who: tuple[str, str], request: bytes) -> None:
        self.sock = sock
        self.who = who
        self.request = request
        self.buffer = b""
        self.upgraded = self.greeted = False


class Crowd:
    """``hints`` and ``goodbyes`` count what all of them were told; ``shed``: who was sent away."""

    def __init__(self, port: int, secret: str) -> None:
        self.hints = self.goodbyes = self.shed = 0
        self._waiting: deque[tuple[str, str]] = deque()
        self._port = port
        self._secret = secret
        self._members: dict[int, Member] = {}
        self._epoll = select.epoll()
        self._made = self._greeted = 0
        self._mask = os.urandom(4)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._members)

    def token(self, user: str, device: str) -> str:
        """Of a user who reads what is their own."""
        claims = {"sub": user, "device": device, "exp": int(time.time()) + 3600}
        return jwt.encode(claims, self._secret, "HS256")

    def join(self, sessions: list[tuple[str, str]], timeout: float = 300.0) -> None:
        """A session for each user and device; returns when all have their hello."""
        target = self._greeted + len(sessions)
        self._waiting.extend(sessions)

        def refill() -> bool:
            while self._waiting and self.open - self._greeted < IN_FLIGHT:
                self._connect(*self._waiting.popleft())
            return self._greeted == target

        self.watch(refill, timeout, "all sessions to open")
        if self.open < target:
            raise BenchmarkError(f"only {self.open} of {target} sessions are open")

    def _connect(self, user: str, device: str) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        self._made += 1
        sock.bind((f"127.0.0.{1 + self._made // PORTS}", 0))
        with suppress(BlockingIOError):
            sock.connect(("127.0.0.1", self._port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /v1/ws HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Protocol: pushd.v1",
            f"Authorization: Bearer {self.token(user, device)}",
        ]
        request = "\r\n".join([*lines, "", ""]).encode()
        self._members[sock.fileno()] = Member(sock, (user, device), request)
        self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def _again(self, member: Member) -> None:
        """A server that is late, on a machine that others use, sends some away."""
        self._waiting.append(member.who)
        self.shed += 1

    # -- what they hear ------------------------------------------------------------------------

    def watch(self, over: Callable[[], bool], timeout: float, what: str) -> float:
        """Until ``over``; answers how long it took, in seconds."""
        began = time.monotonic()
        while not over():
            left = began + timeout - time.monotonic()
            if left <= 0:
                raise BenchmarkError(f"waited in vain for {what} ({self.open} are open)")
            for number, _ in self._epoll.poll(min(left, 0.05), 4096):
                self._ready(number)
        return time.monotonic() - began

    def _ready(self, number: int) -> None:
        member = self._members[number]
        if member.request:
            member.sock.send(member.request)
            member.request = b""
            self._epoll.modify(number, select.EPOLLIN)
            return
        try:
            data = member.sock.recv(READ)
        except OSError:
            data = b""
        if not data:
            self._leave(number)
            if not member.greeted:
                self._again(member)
            return
        member.buffer += data
        if member.upgraded or self._upgrade(number, member):
            self._hear(member)

    def _upgrade(self, number: int, member: Member) -> bool:
        head, end, rest = member.buffer.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 503 "):
            self._leave(number)
            self._again(member)
        elif end:
            if not head.startswith(b"HTTP/1.1 101 "):
                raise BenchmarkError(f"a session was refused: {head[:200]!r}")
            member.upgraded, member.buffer = True, rest
        return member.upgraded

    def _hear(self, member: Member) -> None:
        for opcode, payload in self._frames(member):
            if opcode == CLOSE:
                self._answer(member, CLOSE, payload[:2])
            elif opcode == PING:
                self._answer(member, PONG, payload)
            elif payload.startswith(b'{"type":"hint"'):
                self.hints += 1
            elif payload.startswith(b'{"type":"bye"'):
                self.goodbyes += 1
            elif payload.startswith(b'{"type":"hello"'):
                member.greeted = True
                self._greeted += 1

    def _answer(self, member: Member, opcode: int, payload: bytes) -> None:
        masked = bytes(byte ^ self._mask[at % 4] for at, byte in enumerate(payload))
        member.sock.send(bytes([opcode, 0x80 | len(masked)]) + self._mask + masked)

    def _frames(self, member: Member) -> Iterator[tuple[int, bytes]]:
        buffer = member.buffer
        while len(buffer) >= 2:
            at, size = 2, buffer[1]
            if size == 126:
                at, size = 4, int.from_bytes(buffer[2:4], "big")
            if len(buffer) < at + size:
                break
            yield buffer[0], buffer[at : at + size]
            buffer = buffer[at + size :]
        member.buffer = buffer

    def _leave(self, number: int) -> None:
        self._epoll.unregister(number)
        self._members.pop(number).sock.close()

    def close(self) -> None:
        for number in list(self._members):
            self._leave(number)
        self._epoll.close()


@contextmanager
def gathered(port: int, secret: str) -> Iterator[Crowd]:
    """Nobody yet; whoever is there at the end leaves."""
    crowd = Crowd(port, secret)
    try:
        yield crowd
    finally:
        crowd.close()
